//! The images of a search: loaded once for each shape that its networks take.

use crate::{
    cli::{
        failure::{Failure, Kind},
        images::LoadingFlags,
        output::Output,
        train::{checked, first_fold, partition, sides, subset},
    },
    data::{Dataset, ImageFormat, Partition},
    network::Network,
    search::hash,
    train::RunConfig,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Images by the shape that they are brought to.
pub(super) struct Pictures {
    config: RunConfig,
    loaded: Mutex<BTreeMap<[usize; 3], Arc<Vec<Partition>>>>,
}

impl Pictures {
    /// Loads the images for one network, and says what is to be said of them.
    pub(super) fn load(config: &RunConfig, network: &Network, output: &Output) -> Result<Self, Failure> {
        let pictures = Self { config: config.clone(), loaded: Mutex::default() };
        let data = pictures.data(network)?;
        data.notes.iter().for_each(|note| output.note(note));
        // What is said of the parts is said once.
        drop(match config.kfold {
            None => partition(data, config, output)?,
            Some(folds) => checked(first_fold(data, folds, config)?, config, output)?,
        });
        pictures.parts(network)?;
        Ok(pictures)
    }

    fn data(&self, network: &Network) -> Result<Dataset, Failure> {
        let [channels, height, width] = sides(network)?;
        let format = ImageFormat { channels, height, width, fit: self.config.fit };
        Ok(self.config.data.load(&format, &LoadingFlags::default().room())?)
    }

    /// Which images the network learns from and is measured on: one partition, or one for each fold.
    pub(super) fn parts(&self, network: &Network) -> Result<Arc<Vec<Partition>>, Failure> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let shape = sides(network)?;
        if let Some(parts) = loaded.get(&shape) {
            return Ok(Arc::clone(parts));
        }
        let data = self.data(network)?;
        let parts = match self.config.kfold {
            None => vec![partition(data, &self.config, &Output::silent())?],
            Some(count) => Partition::folds(data, count, self.config.settings.seed)
                .map(|fold| subset(fold, &self.config))
                .collect::<Result<_, _>>()?,
        };
        let parts = Arc::new(parts);
        loaded.insert(shape, Arc::clone(&parts));
        Ok(parts)
    }

    /// Trainings that score one candidate.
    pub(super) fn folds(&self) -> usize {
        self.config.kfold.unwrap_or(1)
    }

    /// All images of a cross-validation, whatever `--subset` says; the validation images are among those to learn from.
    pub(super) fn all(&self, network: &Network) -> Result<Partition, Failure> {
        let whole = RunConfig { subset: None, ..self.config.clone() };
        let mut all = first_fold(self.data(network)?, self.folds(), &whole)?;
        all.train.append(all.validation.clone());
        Ok(all)
    }

    /// How many times as many images there are as one training of a trial learns from.
    pub(super) fn all_per_learnt(&self) -> f64 {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = loaded.values().next().and_then(|parts| parts.first());
        parts.map_or(1.0, |parts| {
            let all = parts.train.len() + parts.left_out + parts.validation.len();
            all as f64 / parts.train.len().max(1) as f64
        })
    }

    /// What a score depends on: which image is for what, and how it looks.
    pub(super) fn fingerprint(&self) -> String {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = loaded.values().flat_map(|parts| parts.iter()).map(|parts| parts.split_file().to_csv());
        hash(&texts.collect::<Vec<_>>().join("\n"))
    }

    /// Names of the classes.
    pub(super) fn classes(&self) -> Result<Vec<String>, Failure> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = loaded.values().next().and_then(|parts| parts.first());
        let none = || Failure::new(Kind::Data, "no images are loaded");
        parts.map(|parts| parts.classes.clone()).ok_or_else(none)
    }
}
