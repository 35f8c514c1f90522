//! Which of the images are learnt from, which only measured on.

use super::{
    error::DataError,
    images::{Dataset, Images},
    split::stratified,
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
        Self { name, classes, train, validation, test }
    }

    /// The parts that `file` says, of all images of the data.
    ///
    /// # Errors
    /// When an image of the file is not in the data, or of another class there.
    pub fn by(file: &SplitFile, data: Dataset) -> Result<Self, DataError> {
        let Dataset { name, classes, train, validation, test, .. } = data;
        let mut all = train;
        [validation, test].into_iter().flatten().for_each(|images| all.append(images));
        let [train, validation, test] = file.positions(&all, &classes)?.map(|indices| all.subset(&indices));
        Ok(Self { name, classes, train, validation, test: (!test.is_empty()).then_some(test) })
    }

    /// What is for what, as a file.
    pub fn split_file(&self) -> SplitFile {
        let test = self.test.as_ref().map(|test| ("test", test));
        let splits: Vec<(&str, &Images)> =
            [("train", &self.train), ("val", &self.validation)].into_iter().chain(test).collect();
        SplitFile::of(&splits, &self.classes)
    }
}
