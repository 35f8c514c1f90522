//! `nasgen check`: what is in a folder of images.

use super::{
    failure::{Failure, Kind},
    images::LoadingFlags,
    output::Output,
    show::parse_input,
};
use crate::{
    data::{Fit, ImageFormat, Source, Survey},
    numbers::{grouped, short},
    report::survey_text,
};
use serde_json::json;

/// Look at images before training: classes, broken files, duplicates across the splits, sizes.
///
/// Exit code 3 when they cannot be trained on, or when a test or validation image is also a training
/// image. Almost equal images are shown, and no error.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A folder or a CSV table, as for `train --data`.
    data: Source,
    #[command(flatten)]
    loading: LoadingFlags,
    /// Shape that the images are brought to.
    #[arg(long, default_value = "3x64x64", value_name = "CxHxW", value_parser = parse_input)]
    input: [usize; 3],
    /// How images of another size are fitted: letterbox, crop or stretch.
    #[arg(long, default_value = "letterbox")]
    fit: Fit,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let [channels, height, width] = arguments.input;
    let format = ImageFormat { channels, height, width, fit: arguments.fit };
    let data = arguments.loading.read(&arguments.data, &format, output)?;
    let survey = Survey::of(&data);
    let bytes = [Some(&data.train), data.validation.as_ref(), data.test.as_ref()];
    let bytes: u64 = bytes.into_iter().flatten().map(|images| images.memory_bytes() + images.disk_bytes()).sum();
    let leak = leak(survey.across_splits);
    output.result(
        || {
            let memory = format!("memory      {}B for all images at {channels}×{height}×{width}", short(bytes));
            let notes: String = data.notes.iter().map(|note| format!("\nnote: {note}")).collect();
            format!("{}\n{memory}{notes}", survey_text(&data.name, &survey))
        },
        || {
            let mut object = json!({"data": data.name, "notes": data.notes, "bytes": bytes, "survey": survey});
            if let Some(leak) = &leak {
                object["error"] = json!({"code": Kind::Data as u8, "message": leak});
            }
            object
        },
    )?;
    leak.map_or(Ok(()), |leak| Err(Failure::in_result(Kind::Data, leak)))
}

/// What is wrong if so many images are in several splits.
fn leak(images: usize) -> Option<String> {
    let which = match images {
        0 => return None,
        1 => "1 image is".to_owned(),
        images => format!("{} different images are", grouped(images as u64)),
    };
    Some(format!("{which} in several splits: what is measured on them says too much; remove them from one"))
}
