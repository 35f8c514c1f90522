//! A program with all of nasgen's commands and two blocks more: one made of nasgen's layers, one with
//! an operation of its own.
//!
//! ```text
//! cargo run -p custom-block -- modules GhostConv
//! cargo run -p custom-block -- train examples/custom_block/ghost.yml
//! cargo run -p custom-block -- train examples/custom_block/involution.yml
//! ```

mod ghost_conv;
mod involution;

use ghost_conv::GhostConv;
use involution::Involution;
use nasgen_modules::Block;
use std::process::ExitCode;

const BLOCKS: &[Block] = &[Block::of::<GhostConv>(), Block::of::<Involution>()];

fn main() -> ExitCode {
    nasgen::cli::main_with(BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor, Var};
    use nasgen::spec::{SourceText, with_blocks_of};
    use nasgen_modules::{Blocks, Layers, Primitive, Shape, Site};
    use serde_json::json;

    fn layers(blocks: &Blocks, name: &str, arguments: &[serde_json::Value], input: Shape) -> Layers {
        let module = blocks.get(name).unwrap().parse(arguments, &Default::default()).unwrap();
        module.layers(&Site::row(input)).unwrap()
    }

    /// By hand: 8·8 weights, 8·9 depthwise, two norms of 2·8.
    #[test]
    fn counts_by_hand() {
        let layers = layers(&Blocks::with(BLOCKS).unwrap(), "GhostConv", &[16.into()], Shape::image(8, 4, 4));
        assert_eq!((layers.output(), layers.params()), (Shape::image(16, 4, 4), 64 + 72 + 32));
        assert_eq!(layers.macs(), (64 + 72) * 16);
    }

    /// The YAML under `header` in the README's section on blocks.
    fn readme_yaml() -> String {
        let readme = include_str!("../../../README.md");
        let section = &readme[readme.find("## Add a block").unwrap()..];
        let start = section.find("```yaml\n").unwrap() + "```yaml\n".len();
        section[start..start + section[start..].find("```").unwrap()].to_owned()
    }

    #[test]
    fn the_readme_shows_one_block_both_ways() {
        let readme = include_str!("../../../README.md");
        let rust = include_str!("ghost_conv.rs");
        let shown = &rust[rust.find("/// Half of the channels").unwrap()..];
        assert!(readme.contains(shown.trim_end()), "the README shows src/ghost_conv.rs as it is");

        let yaml = readme_yaml();
        assert!(yaml.lines().count() <= 10, "ten lines:\n{yaml}");
        let source = SourceText { name: "README.md".into(), text: yaml };
        let defined = with_blocks_of(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
        let rust = Blocks::with(BLOCKS).unwrap();
        for (arguments, channels) in [(vec![json!(16)], 8), (vec![json!(50), json!(5)], 12), (vec![json!(2)], 3)] {
            let input = Shape::image(channels, 6, 7);
            assert_eq!(layers(&defined, "GhostConv", &arguments, input), layers(&rust, "GhostConv", &arguments, input),);
        }
        let [rust, yaml] = [&rust, &defined].map(|blocks| blocks.get("GhostConv").unwrap().signature.clone());
        let takes = |signature: nasgen_modules::arguments::Signature| {
            let argument = |argument: &nasgen_modules::arguments::Argument| (argument.name.clone(), argument.wanted());
            signature.arguments.iter().map(argument).collect::<Vec<_>>()
        };
        assert_eq!(takes(rust), takes(yaml));
    }

    /// By hand: 8·2 weights and 2 norms of it, then 9 taps of 2 groups from 2 channels, with biases.
    #[test]
    fn involution_counts_and_learns() {
        let input = Shape::image(8, 5, 4);
        let layers = layers(&Blocks::with(BLOCKS).unwrap(), "Involution", &[3.into(), 2.into()], input);
        assert_eq!(layers.params(), 8 * 2 + 4 + (18 * 2 + 18) + 16);
        assert_eq!(layers.macs(), 20 * (8 * 2 + 18 * 2 + 8 * 9));

        let node = layers.nodes().iter().find(|node| node.label == "involve").unwrap();
        let Primitive::Custom(custom) = node.primitive else { panic!("{node:?}") };
        let random = |shape: &[usize]| Var::randn(0f32, 1f32, shape, &Device::Cpu).unwrap();
        let (image, pixels) = (random(&[2, 8, 5, 4]), random(&[2, 2, 5, 4]));
        let (weight, bias) = (random(&[18, 2]), random(&[18]));
        let parameters = [weight.as_tensor().clone(), bias.as_tensor().clone()];
        let output = custom.operation().forward(&[image.as_tensor().clone(), pixels.as_tensor().clone()], &parameters);
        let output = output.unwrap();

        // One output by its definition: image 1, channel 5 (group 1), row 0, column 3.
        let value = |tensor: &Tensor, at: &[usize]| {
            let picked = at.iter().fold(tensor.clone(), |tensor, index| tensor.get(*index).unwrap());
            picked.to_scalar::<f32>().unwrap()
        };
        let mut expected = 0.0;
        for (row, column) in (0..3).flat_map(|row| (0..3).map(move |column| (row, column))) {
            let made = 9 + row * 3 + column;
            let kernel = (0..2).map(|r| value(&weight, &[made, r]) * value(&pixels, &[1, r, 0, 3])).sum::<f32>()
                + value(&bias, &[made]);
            let (y, x) = (row as i64 - 1, 3 + column as i64 - 1);
            if (0..5).contains(&y) && (0..4).contains(&x) {
                expected += kernel * value(&image, &[1, 5, y as usize, x as usize]);
            }
        }
        assert!((value(&output, &[1, 5, 0, 3]) - expected).abs() < 1e-4, "{expected}");

        let gradients = output.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for variable in [&image, &pixels, &weight, &bias] {
            let gradient = gradients.get(variable).unwrap().abs().unwrap().sum_all().unwrap();
            assert!(gradient.to_scalar::<f32>().unwrap() > 0.0);
        }
    }

    #[test]
    fn equal_operations_are_one_layer() {
        let blocks = Blocks::with(BLOCKS).unwrap();
        let of = |kernel: u64| layers(&blocks, "Involution", &[kernel.into()], Shape::image(8, 7, 7));
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(5));
    }
}
