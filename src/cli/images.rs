//! Images as `--data` names them, downloaded first where the name is that of a published set.

use super::{
    failure::{Failure, Kind},
    output::Output,
    train::memory,
};
use crate::{
    data::{DataError, Dataset, DownloadError, ImageFormat, Room, Source, Transfer},
    numbers::{parse_count, short},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{env, io::IsTerminal, path::PathBuf};

/// Where images come from, and where they go.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct LoadingFlags {
    /// Folder for data sets that are downloaded, once, and for decoded images that the memory has no room
    /// for, while the program runs [default: NASGEN_CACHE, else nasgen in
    /// XDG_CACHE_HOME, else ~/.cache/nasgen].
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Bytes of memory that decoded images may take, such as 800M or 2G; the rest waits in a temporary file
    /// [default: half of what is free].
    #[arg(long, value_name = "BYTES", value_parser = parse_count)]
    image_memory: Option<u64>,
    /// A web folder that has the files of a published data set, instead of the built-in addresses. Lengths and
    /// checksums must be the published ones all the same. May be given several times.
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
}

impl LoadingFlags {
    /// The images of `source`, with its notes said.
    pub(super) fn load(&self, source: &Source, format: &ImageFormat, output: &Output) -> Result<Dataset, Failure> {
        let data = self.read(source, format, output)?;
        data.notes.iter().for_each(|note| output.note(note));
        Ok(data)
    }

    /// The images of `source`.
    pub(super) fn read(&self, source: &Source, format: &ImageFormat, output: &Output) -> Result<Dataset, Failure> {
        Ok(match source {
            Source::Published(_) => self.located(source, output)?.load(format, &self.room())?,
            here => here.load(format, &self.room())?,
        })
    }

    /// Where decoded images go: some of the memory, then a file beside the downloads.
    pub(super) fn room(&self) -> Room {
        let free = || memory::available().map_or(u64::MAX, |bytes| bytes / 2);
        let memory = self.image_memory.unwrap_or_else(free);
        Room { memory, folder: self.cache().unwrap_or_else(|_| env::temp_dir()) }
    }

    /// Refuses a set that would have to be downloaded first.
    pub(super) fn refuse_download(&self, source: &Source) -> Result<(), Failure> {
        match source {
            Source::Published(published) if !published.is_in(&self.cache()?) => Err(Failure::usage(format!(
                "{published} is not here yet: {}B would be downloaded, and a dry run writes nothing; `nasgen check \
                 {published}` fetches it",
                short(published.bytes()),
            ))),
            _ => Ok(()),
        }
    }

    fn located(&self, source: &Source, output: &Output) -> Result<Source, Failure> {
        let cache = self.cache()?;
        if let Source::Published(published) = source
            && !published.is_in(&cache)
        {
            let (bytes, cache) = (short(published.bytes()), cache.display());
            output.note(&format!("{published} is downloaded to {cache}: {bytes}B"));
        }
        let mut progress = TransferProgress::default();
        let located = source.located(&cache, &self.mirror, &mut |transfer| progress.show(transfer, output));
        progress.finish();
        Ok(located?)
    }

    fn cache(&self) -> Result<PathBuf, Failure> {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let system = || variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
        let cache = self.cache.clone().or_else(|| variable("NASGEN_CACHE"));
        cache.or_else(|| system().map(|folder| folder.join("nasgen"))).ok_or_else(|| {
            Failure::usage("there is no folder to keep downloads in: name one with --cache or NASGEN_CACHE")
        })
    }
}

/// A moving bar on a terminal, one line a file elsewhere.
#[derive(Default)]
struct TransferProgress {
    bar: Option<ProgressBar>,
    file: String,
}

impl TransferProgress {
    fn show(&mut self, transfer: &Transfer<'_>, output: &Output) {
        if self.file != transfer.file {
            self.finish();
            self.file = transfer.file.to_owned();
            if std::io::stderr().is_terminal() {
                let style = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
                let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
                let bar = ProgressBar::new(transfer.bytes).with_style(style).with_message(self.file.clone());
                self.bar = Some(bar);
            } else {
                output.message(&format!("{}: {}B", transfer.file, short(transfer.bytes)));
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(transfer.done);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        let kind = match error {
            DownloadError::NoMirror { .. } => Kind::Data,
            DownloadError::Write { .. } => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let kind = if matches!(error, DataError::NoRoom { .. }) { Kind::Failed } else { Kind::Data };
        Self::new(kind, error.to_string())
    }
}
