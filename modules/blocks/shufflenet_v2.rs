//! The units of ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164, figure 3 c and d).

use crate::prelude::*;

/// Two branches over halves of the channels, concatenated and shuffled. At stride 1 the left one
/// is the identity; at stride 2 both see all channels.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ShuffleNetV2 {
    /// Stride of every copy.
    #[schemars(range(min = 1, max = 2))]
    stride: usize,
    /// Output channels at stride 2, even; null is twice the input's. At stride 1 they are the
    /// input's.
    #[serde(default)]
    out: Option<usize>,
}

impl ShuffleNetV2 {
    fn out(&self, channels: usize) -> Result<usize> {
        let own = if self.stride == 1 { channels } else { channels.saturating_mul(2) };
        let out = self.out.unwrap_or(own);
        if self.stride == 1 && out != channels {
            return Err(Error::argument("out", format!("at stride 1 it is the input's {channels}, got {out}")));
        }
        if out == 0 || !out.is_multiple_of(2) {
            return Err(Error::argument("out", format!("wanted an even number of channels, got {out}")));
        }
        Ok(out)
    }
}

impl ModuleGenerator for ShuffleNetV2 {
    const NAME: &'static str = "ShuffleNetV2";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let channels = site.input().channels();
        let half = self.out(channels)? / 2;
        let slice = |start| Primitive::ChannelSlice { start, length: half };
        let window = Window::centered(3, self.stride);
        let strides = self.stride == 2;

        let start = site.chain();
        let input = start.here();
        let left = if strides {
            start
                .depthwise("left.depthwise", window)
                .norm()
                .pointwise("left.project", half)
                .norm()
                .activation(Activation::ReLU)
        } else {
            start.layer("left.slice", slice(0))
        };
        let left_end = left.here();
        let right = left
            .from(input)
            .when(!strides, |chain| chain.layer("right.slice", slice(half)))
            .pointwise("right.expand", half)
            .norm()
            .activation(Activation::ReLU)
            .depthwise("right.depthwise", window)
            .norm()
            .pointwise("right.project", half)
            .norm()
            .activation(Activation::ReLU);
        let right_end = right.here();
        right.concat(&[left_end, right_end]).layer("shuffle", Primitive::ChannelShuffle { groups: 2 }).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self { stride: trial.stride(site)?, out: None })
    }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<ShuffleNetV2>()];
