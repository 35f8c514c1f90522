//! Which of the images are learnt from, which only measured on.

use super::{
    error::DataError,
    images::{Dataset, Images},
    split::{Subset, folds, stratified},
    split_file::SplitFile,
};

/// The images of a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The data's name.
    pub name: String,
    /// Names of the classes; a label is a position in this list.
    pub classes: Vec<String>,
    /// To learn from.
    pub train: Images,
    /// To measure on after each epoch.
    pub validation: Images,
    /// Not looked at before all is decided.
    pub test: Option<Images>,
    /// Images of the data that are for nothing.
    pub left_out: usize,
}

impl Partition {
    /// The data's own validation images, else a stratified share of its training images.
    pub fn of(data: Dataset, share: f64, seed: u64) -> Self {
        let Dataset { name, classes, train, validation, test, .. } = data;
        let (train, validation) = match validation {
            Some(validation) => (train, validation),
            None => {
                let (learnt, measured) = stratified(&train.labels, classes.len(), share, seed);
                (train.subset(&learnt), train.subset(&measured))
            }
        };
        Self { name, classes, train, validation, test, left_out: 0 }
    }

    /// The parts that `file` says, of all images of the data; images that are not in the file are left out.
    ///
    /// # Errors
    /// When an image of the file is not in the data, or of another class there, or, if `same_pixels` are
    /// asked for, looks different from when the file was written.
    pub fn by(file: &SplitFile, data: Dataset, same_pixels: bool) -> Result<Self, DataError> {
        let (name, classes, all) = whole(data);
        let positions = file.positions(&all, &classes, same_pixels)?;
        // An image may be for two things: after a cross-validation all are learnt from, and some measured on.
        let mut is_used = vec![false; all.len()];
        positions.iter().flatten().for_each(|place| is_used[*place] = true);
        let left_out = is_used.iter().filter(|used| !**used).count();
        let [train, validation, test] = positions.map(|indices| all.subset(&indices));
        Ok(Self { name, classes, train, validation, test: (!test.is_empty()).then_some(test), left_out })
    }

    /// As many partitions as there are folds: each validates on one of them and learns from the others.
    /// The data's own validation images are among those that are divided; its test images are not.
    pub fn folds(data: Dataset, count: usize, seed: u64) -> impl Iterator<Item = Self> {
        let Dataset { name, classes, mut train, validation, test, .. } = data;
        validation.into_iter().for_each(|images| train.append(images));
        let folds = folds(&train.labels, classes.len(), count, seed);
        let fold = move |fold: Vec<usize>| {
            let others: Vec<usize> = (0..train.len()).filter(|index| fold.binary_search(index).is_err()).collect();
            Self {
                name: name.clone(),
                classes: classes.clone(),
                train: train.subset(&others),
                validation: train.subset(&fold),
                test: test.clone(),
                left_out: 0,
            }
        };
        folds.into_iter().map(fold)
    }

    /// Learns from fewer images.
    #[must_use]
    pub fn with_subset(self, subset: Subset, seed: u64) -> Self {
        let chosen = subset.choose(&self.train.labels, self.classes.len(), seed);
        let left_out = self.left_out + self.train.len() - chosen.len();
        Self { train: self.train.subset(&chosen), left_out, ..self }
    }

    /// What is for what, as a file.
    pub fn split_file(&self) -> SplitFile {
        let test = self.test.as_ref().map(|test| ("test", test));
        let splits: Vec<(&str, &Images)> =
            [("train", &self.train), ("val", &self.validation)].into_iter().chain(test).collect();
        SplitFile::of(&splits, &self.classes)
    }
}

/// Name, classes and all images.
fn whole(data: Dataset) -> (String, Vec<String>, Images) {
    let Dataset { name, classes, mut train, validation, test, .. } = data;
    [validation, test].into_iter().flatten().for_each(|images| train.append(images));
    (name, classes, train)
}
