//! Fused blocks give the same bytes with any number of threads and in every run, for whole and for odd sizes.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use delt_formats::{Architecture, Stem};
use delt_formula::{by_formula, formula_uniform};
use delt_networks::{FrozenNetwork, Network};

const CLASSES: usize = 7;

/// More threads than this machine may have; the first is repeated.
const THREADS: [usize; 5] = [1, 2, 3, 1, 2];

/// Network, side of its images, images in a batch.
fn cases() -> [(Architecture, usize, usize); 5] {
    let convnet = Architecture::convnet(3, 20);
    let resnet = Architecture::resnet18(Stem::Small);
    [
        (Architecture::convnet(3, 64), 32, 8),
        (convnet, 19, 5),
        (convnet, 8, 1),
        (resnet, 16, 6),
        (resnet, 11, 3),
    ]
}

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    tensor.try_into_vec_as::<f32>().expect("values").into_iter().map(f32::to_bits).collect()
}

fn pictures(n: usize, size: usize, device: &Device) -> Tensor<4> {
    let shape = [n, 3, size, size];
    let values = formula_uniform("threads/", "x", shape.iter().product());
    Tensor::from_data(TensorData::new(values.into_iter().map(|u| 2.0 * u as f32).collect(), shape), device)
}

fn network(architecture: &Architecture, size: usize, device: &Device) -> Network {
    Network::build(architecture, CLASSES, size, device, &mut by_formula("threads/")).expect("a network")
}

/// Runs work in pools of different sizes: kernels and tensor library both work in the pool of their caller.
fn assert_same(what: &str, work: impl Fn() -> Vec<Vec<u32>> + Sync) {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            assert_eq!(rayon::current_num_threads(), threads);
            work()
        })
    };
    let first = with(THREADS[0]);
    assert!(first.iter().flatten().any(|bits| *bits != 0), "{what}: all values are 0");
    for threads in &THREADS[1..] {
        assert!(with(*threads) == first, "{what}: {threads} threads give other bytes");
    }
}

#[test]
fn a_recovery_step_and_a_labeling_forward_give_the_same_bytes() {
    let device = delt_device::open("flex").expect("the CPU").device;
    for (architecture, size, n) in cases() {
        let what = format!("{architecture} on {n} images of {size} px");
        let network = network(&architecture, size, &device);
        let frozen = FrozenNetwork::new(network, &device);
        assert_same(&format!("labeling, {what}"), || vec![bits(frozen.forward(pictures(n, size, &device)))]);
        assert_same(&format!("recovery, {what}"), || {
            let leaf = pictures(n, size, &device).autodiff().require_grad();
            let (logits, terms) = frozen.forward_with_bn_terms(leaf.clone());
            let loss = terms.into_iter().fold(logits.powi_scalar(2).sum(), |sum, term| sum + term);
            let gradient = leaf.grad(&loss.backward()).expect("a gradient");
            vec![bits(loss.inner()), bits(gradient)]
        });
    }
}

struct Collect<'a> {
    gradients: &'a Gradients,
    found: Vec<Vec<u32>>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.extend(param.val().grad(self.gradients).map(bits));
    }
}

#[test]
fn a_student_step_gives_the_same_bytes() {
    let device = delt_device::open("flex").expect("the CPU").device.autodiff();
    for (architecture, size, n) in cases().into_iter().filter(|(_, _, n)| *n > 1) {
        let network = network(&architecture, size, &device);
        assert_same(&format!("{architecture} on {n} images of {size} px"), || {
            let (logits, statistics) = network.forward_train(pictures(n, size, &device));
            let gradients = logits.clone().powi_scalar(2).sum().backward();
            let mut collect = Collect { gradients: &gradients, found: vec![bits(logits.inner())] };
            network.visit(&mut collect);
            let moments = statistics.into_iter().flat_map(|of| [bits(of.mean), bits(of.variance_unbiased)]);
            collect.found.extend(moments);
            collect.found
        });
    }
}
