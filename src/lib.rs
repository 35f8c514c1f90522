//! Small image classifiers from YAML: read, sample, train.
//!
//! Where to start: [`spec::ModelSpec`] is what a file says, [`network::Network`] what it means,
//! `nasgen_modules` what it can name. ARCHITECTURE.md is the map.

pub mod bench;
pub mod cli;
pub mod data;
pub mod engine;
pub mod evaluation;
pub mod export;
pub mod files;
pub mod forecast;
pub mod measure;
pub mod network;
pub mod numbers;
pub mod pretrained;
pub mod reference;
pub mod report;
pub mod search;
pub mod space;
pub mod spec;
pub mod study;
pub mod tensorboard;
pub mod train;
pub mod weights;

pub use nasgen_modules::chance;
