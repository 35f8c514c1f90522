//! The published sets that a name stands for.
//!
//! Sizes and SHA-256 sums are those that tensorflow-datasets 4.9.10 lists (`url_checksums/*.txt`). Mirrors are
//! those of tensorflow-datasets and of torchvision 0.29 (`datasets/mnist.py`), which lists the same files by
//! their MD5 sums, and of Keras (`datasets/fashion_mnist.py`).

use std::fmt;

/// A data set that is downloaded when it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// What `--data` calls it, and its folder in the cache.
    pub name: &'static str,
    /// Web folders that have all of its files, the first one tried first.
    pub mirrors: &'static [&'static str],
    /// What is downloaded.
    pub files: &'static [RemoteFile],
}

/// A file of a published set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name in the mirrors' folders. A `.tar.gz` is unpacked.
    pub name: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 sum, in lower-case hexadecimal digits.
    pub sha256: &'static str,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Published {
    /// All of them.
    pub const ALL: [Self; 4] = [MNIST, FASHION_MNIST, CIFAR10, CIFAR100];

    /// The set of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|published| published.name == name)
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// LeCun, Cortes and Burges.
const MNIST: Published = Published {
    name: "mnist",
    mirrors: &["https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"],
    files: &[
        RemoteFile {
            name: "train-images-idx3-ubyte.gz",
            bytes: 9_912_422,
            sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        },
        RemoteFile {
            name: "train-labels-idx1-ubyte.gz",
            bytes: 28_881,
            sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        },
        RemoteFile {
            name: "t10k-images-idx3-ubyte.gz",
            bytes: 1_648_877,
            sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        },
        RemoteFile {
            name: "t10k-labels-idx1-ubyte.gz",
            bytes: 4_542,
            sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ],
};

/// Xiao, Rasul and Vollgraf 2017.
const FASHION_MNIST: Published = Published {
    name: "fashion-mnist",
    mirrors: &[
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ],
    files: &[
        RemoteFile {
            name: "train-images-idx3-ubyte.gz",
            bytes: 26_421_880,
            sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        },
        RemoteFile {
            name: "train-labels-idx1-ubyte.gz",
            bytes: 29_515,
            sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        },
        RemoteFile {
            name: "t10k-images-idx3-ubyte.gz",
            bytes: 4_422_102,
            sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        },
        RemoteFile {
            name: "t10k-labels-idx1-ubyte.gz",
            bytes: 5_148,
            sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ],
};

/// Krizhevsky 2009. The packages know this server alone; the second address is for those whom TLS fails, and
/// the sum protects both.
const TORONTO: &[&str] = &["https://www.cs.toronto.edu/~kriz", "http://www.cs.toronto.edu/~kriz"];

const CIFAR10: Published = Published {
    name: "cifar10",
    mirrors: TORONTO,
    files: &[RemoteFile {
        name: "cifar-10-binary.tar.gz",
        bytes: 170_052_171,
        sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    }],
};

const CIFAR100: Published = Published {
    name: "cifar100",
    mirrors: TORONTO,
    files: &[RemoteFile {
        name: "cifar-100-binary.tar.gz",
        bytes: 168_513_733,
        sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    }],
};
