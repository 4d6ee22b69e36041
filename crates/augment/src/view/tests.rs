//! Views drawn, built and refused.

use super::*;
use crate::to_normalized;

const SPEC: ViewSpec = ViewSpec {
    shuffle_patches: None,
    randaugment: Some(RandAugment { magnitude: 5.0, layers: 4, std: 1.0 }),
    min_crop_scale: 0.25,
    flip: true,
    mix: MixSpec::Cutmix { alpha: 1.0 },
    order: Order::Drawn,
};
const PLAIN: Normalization = Normalization { mean: [0.5; 3], std: [0.25; 3] };

fn pictures(count: u32, size: u32) -> Vec<RgbImage> {
    let rgb = |id: u32| (0..size * size * 3).map(|i| ((i * 29 + id * 83) % 256) as u8).collect();
    (0..count).map(|id| RgbImage { width: size, height: size, rgb: rgb(id) }).collect()
}

#[test]
fn an_epoch_shows_every_image_once_and_keeps_a_short_last_batch() {
    let rows = draw_views(&Draws::new(3407), 5, 10, 4, &SPEC, 32).unwrap();
    let mut shown: Vec<u32> = rows.iter().map(|row| row.image_id).collect();
    assert_ne!(shown, (0..10).collect::<Vec<_>>());
    shown.sort_unstable();
    assert_eq!(shown, (0..10).collect::<Vec<_>>());
    let places: Vec<(u32, u32)> = rows.iter().map(|row| (row.batch, row.position)).collect();
    assert_eq!(places, (0..10).map(|i| (i / 4, i % 4)).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.epoch == 5 && row.logits.is_empty()));
}

#[test]
fn draws_repeat_for_a_seed_and_differ_between_epochs_and_seeds() {
    let draw = |seed, epoch| draw_views(&Draws::new(seed), epoch, 10, 4, &SPEC, 32).unwrap();
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(1, 1));
    assert_ne!(draw(1, 0), draw(2, 0));
}

#[test]
fn switching_one_part_off_leaves_the_others() {
    let draw = |spec| draw_views(&Draws::new(1), 0, 10, 4, &spec, 32).unwrap();
    let with = draw(SPEC);
    let without = draw(ViewSpec { randaugment: None, ..SPEC });
    assert!(without.iter().all(|row| row.randaugment.is_empty()));
    assert!(with.iter().zip(&without).all(|(a, b)| (a.crop, a.flip, a.mix) == (b.crop, b.flip, b.mix)));
}

#[test]
fn the_order_of_torch_is_the_same_for_all_seeds_and_leaves_what_is_drawn_of_an_image() {
    let torch = ViewSpec { order: Order::Torch, ..SPEC };
    let draw = |seed, spec| draw_views(&Draws::new(seed), 1, 10, 4, &spec, 32).unwrap();
    let shown = |rows: &[ViewRow]| rows.iter().map(|row| row.image_id).collect::<Vec<_>>();
    assert_eq!(shown(&draw(1, torch)), torch_order(1, 10));
    assert_eq!(shown(&draw(2, torch)), torch_order(1, 10));
    let by_image = |mut rows: Vec<ViewRow>| {
        rows.sort_by_key(|row| row.image_id);
        rows.into_iter().map(|row| (row.crop, row.flip, row.randaugment)).collect::<Vec<_>>()
    };
    assert_eq!(by_image(draw(1, torch)), by_image(draw(1, SPEC)));
}

#[test]
fn shuffled_patches_leave_the_other_draws_as_they_were_and_need_whole_patches() {
    let spec = ViewSpec { shuffle_patches: Some(3), ..SPEC };
    let draw = |spec, size| draw_views(&Draws::new(1), 0, 10, 4, &spec, size).unwrap();
    let (with, without) = (draw(spec, 32), draw(SPEC, 32));
    assert!(with.iter().any(|row| row.patch_order != with[0].patch_order));
    let unshuffled = |row: &ViewRow| ViewRow { patch_order: Vec::new(), ..row.clone() };
    assert_eq!(with.iter().map(unshuffled).collect::<Vec<_>>(), without);
    assert_eq!(
        build_views(&pictures(10, 32), &with[..4], 32, &PLAIN).unwrap_err().to_string(),
        "3 x 3 patches do not divide 32 px; choose `shuffle_patches` so that they do"
    );
    let plain = ViewSpec {
        randaugment: None,
        min_crop_scale: 1.0,
        flip: false,
        mix: MixSpec::None {},
        shuffle_patches: Some(2),
        order: Order::Drawn,
    };
    let rows = draw(plain, 8);
    let pictures = pictures(10, 8);
    let values = build_views(&pictures, &rows[..4], 8, &PLAIN).unwrap();
    for (row, view) in rows.iter().zip(values.chunks_exact(192)) {
        let mut expected = vec![0.0; 192];
        let shuffled = shuffle_patches(&pictures[row.image_id as usize], &row.patch_order);
        to_normalized(&shuffled.rgb, &PLAIN, &mut expected);
        assert_eq!(view, expected);
    }
}

#[test]
fn nothing_drawn_is_the_normalized_picture() {
    let spec = ViewSpec {
        shuffle_patches: None,
        randaugment: None,
        min_crop_scale: 1.0,
        flip: false,
        mix: MixSpec::None {},
        order: Order::Drawn,
    };
    let pictures = pictures(3, 8);
    let rows = draw_views(&Draws::new(1), 0, 3, 3, &spec, 8).unwrap();
    let values = build_views(&pictures, &rows, 8, &PLAIN).unwrap();
    for (row, view) in rows.iter().zip(values.chunks_exact(192)) {
        let mut expected = vec![0.0; 192];
        to_normalized(&pictures[row.image_id as usize].rgb, &PLAIN, &mut expected);
        assert_eq!(view, expected);
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let pictures = pictures(40, 16);
    let rows = draw_views(&Draws::new(1), 0, 40, 40, &SPEC, 16).unwrap();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| build_views(&pictures, &rows, 16, &PLAIN).unwrap())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let pictures = pictures(2, 8);
    let rows = draw_views(&Draws::new(1), 0, 2, 2, &SPEC, 8).unwrap();
    let message = |change: fn(&mut ViewRow)| {
        let mut rows = rows.clone();
        change(&mut rows[1]);
        build_views(&pictures, &rows, 8, &PLAIN).unwrap_err().to_string()
    };
    assert_eq!(
        message(|row| row.position = 7),
        "row 1 of the batch has position 7, expected 1; pass the rows of one batch sorted by position"
    );
    assert_eq!(
        message(|row| row.image_id = 2),
        "view at position 1 shows image 2, but there are 2 synthetic images; the labels belong to another synthetic set, re-run relabel"
    );
    assert_eq!(
        message(|row| row.crop = CropBox { top: 1, left: 0, height: 8, width: 8 }),
        "view at position 1 crops 8x8 px at top 1, left 0, outside its 8x8 image; re-run relabel"
    );
    assert_eq!(
        build_views(&pictures, &rows, 9, &PLAIN).unwrap_err().to_string(),
        format!("image {} is 8x8 px, expected 9x9; re-run delt-synthesize for this size", rows[0].image_id)
    );
}

#[test]
fn settings_outside_their_range_are_refused() {
    let randaugment = RandAugment { magnitude: -1.0, layers: 1, std: 0.0 };
    let refusals = [
        (ViewSpec { min_crop_scale: 0.0, ..SPEC }, "`min_crop_scale` is 0, expected above 0 and at most 1"),
        (ViewSpec { min_crop_scale: 1.1, ..SPEC }, "`min_crop_scale` is 1.1, expected above 0 and at most 1"),
        (
            ViewSpec { mix: MixSpec::Mixup { alpha: -1.0 }, ..SPEC },
            "`mix.alpha` is -1, expected a finite number above 0",
        ),
        (
            ViewSpec { shuffle_patches: Some(1), ..SPEC },
            "`shuffle_patches` is 1, expected 2 to 8 patches a side",
        ),
        (
            ViewSpec { randaugment: Some(randaugment), ..SPEC },
            "`randaugment.magnitude` is -1, expected 0 to 10",
        ),
    ];
    let whole = |said: &str| format!("augmentation setting {said}; correct it in the pipeline's YAML");
    for (spec, said) in refusals {
        assert_eq!(spec.validate().unwrap_err().to_string(), whole(said));
    }
    assert_eq!(
        draw_views(&Draws::new(1), 0, 2, 0, &SPEC, 8).unwrap_err().to_string(),
        whole("`batch` is 0, expected 1 or more")
    );
}
