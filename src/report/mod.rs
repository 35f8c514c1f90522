//! What people read: tables.

mod blocks;
mod evaluation;
mod folds;
pub mod html;
mod lr_chart;
mod measured;
mod network;
mod run;
mod space;
mod study;
mod study_page;
mod survey;

pub use blocks::{block_details, block_list, layer_details};
pub use evaluation::{answers_csv, evaluation_text};
pub use folds::{FoldRow, FoldsReport};
pub use lr_chart::lr_chart;
pub use measured::Measured;
pub use network::network_table;
pub use run::{EpochRow, GUESSING, RunReport, Setting};
pub use space::{count_text, space_report};
pub use study::{best_text, studies_text, study_text};
pub use study_page::{StudyPage, chance_text};
pub use survey::survey_text;
