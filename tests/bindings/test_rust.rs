//! The Rust binding end to end: losses, one's own too, a built encoder, trainers of a recipe and of parts, saving,
//! loading, embedding from several threads, k-NN, fine-tuning, analysis.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use libmio::{
    accuracy, mutual_information_at, projector_gradient, Augment, Builder, Context, Dataset, Encoder, Error, Finetune,
    Knn, Loader, Loss, Norm, Optimizer, Probe, Recipe, Rows, Schedule, Status, Stem, Trainer,
};

const COUNT: usize = 64;
const SIZE: usize = 12;

/// Horizontal stripes are class 0, vertical ones class 1.
fn stripes() -> (Vec<u8>, Vec<i32>) {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for i in 0..COUNT {
        labels.push((i % 2) as i32);
        for y in 0..SIZE {
            for x in 0..SIZE {
                let along = if i % 2 == 1 { x } else { y };
                pixels.push(if (along + i / 2) % 4 < 2 { 200 + (i % 50) as u8 } else { 20 + (i % 30) as u8 });
            }
        }
    }
    (pixels, labels)
}

fn refused<T>(result: libmio::Result<T>, status: Status, words: &str) {
    match result {
        Ok(_) => panic!("not refused: {}", words),
        Err(error) => {
            assert_eq!(error.status, status, "{}", error);
            assert!(error.message.contains(words), "{}", error);
        }
    }
}

fn test_loss(context: &Context) -> libmio::Result<()> {
    let z1 = [1.0, 0.5, -0.25, 1.0, 0.125, 2.0];
    let z2 = [0.5, 1.0, 0.25, -1.0, 1.0, 0.75];
    let mut loss = Loss::new(context, "mio")?;
    loss.set("positive_temperature", 0.3)?;
    loss.set("reduction", "pooled")?;
    assert_eq!((loss.get("positive_temperature")?, loss.get("reduction")?), (0.3, 1.0));
    let (mut g1, mut g2, mut nudged) = ([0.0; 6], [0.0; 6], z1);
    let value = loss.compute(3, 2, &z1, &z2, Some((&mut g1, &mut g2)))?;
    nudged[0] += 1e-6;
    let up = loss.compute(3, 2, &nudged, &z2, None)?;
    nudged[0] -= 2e-6;
    let down = loss.compute(3, 2, &nudged, &z2, None)?;
    assert!(((up - down) / 2e-6 - g1[0]).abs() < 1e-7);
    let (n1, n2) = (z1.map(|v| v as f32), z2.map(|v| v as f32));
    assert!((loss.compute(3, 2, &n1, &n2, None)? - value).abs() < 1e-5);
    refused(loss.compute(3, 3, &z1, &z2, None), Status::Argument, "z1 has 6 values");
    refused(loss.set("temprature", 1.0), Status::Argument, "temprature");
    refused(Loss::new(context, "no\0name"), Status::Argument, "zero byte");
    assert!(Loss::names().len() >= 18 && Loss::names().contains(&"nt_xent".to_string()));
    let mut supcon = Loss::new(context, "supcon")?;
    let plain = supcon.compute(3, 2, &z1, &z2, None)?;
    supcon.set_batch(Some(&[0, 1, 0]), None)?;
    assert_ne!(supcon.compute(3, 2, &z1, &z2, None)?, plain);
    supcon.set_batch(None, None)?;
    assert_eq!(supcon.compute(3, 2, &z1, &z2, None)?, plain);
    Ok(())
}

fn test_builder(context: &Context) -> libmio::Result<()> {
    let mut builder = Builder::new(context, 1, 8, 8)?;
    let input = builder.input();
    let x = builder.name("first")?.conv2d(input, 8, 3, 1, 1);
    let x = builder.batch_norm(x);
    let x = builder.relu(x);
    let x = builder.max_pool(x, 2, 2, 0);
    let x = builder.add(x, x);
    let features = builder.global_average_pool(x);
    let z = builder.linear(features, 5, true);
    let encoder = builder.finish(features, Some(z))?;
    assert_eq!((encoder.feature_dim(), encoder.projection_dim(), encoder.input_shape()), (8, 5, (1, 8, 8)));
    refused(encoder.embed(2, 8, 8, 1, &[0; 64]), Status::Argument, "64 values");
    refused(encoder.embed(2, 8, 0, 1, &[]), Status::Argument, "no pixels");
    refused(encoder.embed(1, 8, 8, 3, &[0; 192]), Status::Argument, "channel");
    let mut builder = Builder::new(context, 3, 32, 32)?;
    let input = builder.input();
    let features = builder.resnet(input, 18, 8, Stem::Small);
    let z = builder.projector(features, 2, 16, 8);
    let mut resnet = builder.finish(features, Some(z))?;
    resnet.set("algorithm", "exact")?;
    assert_eq!((resnet.feature_dim(), resnet.get("algorithm")?), (64, 0.0));
    let mut builder = Builder::new(context, 1, 8, 8)?;
    let input = builder.input();
    let x = builder.conv2d(input, 8, 3, 1, 1);
    let x = builder.batch_norm_plain(x);
    let h = builder.global_average_pool(x);
    let z = builder.mlp(h, 2, 16, 6, Norm::Affine, Norm::None);
    let p = builder.predictor(z, 2, 4, 6);
    let heads = builder.finish_with_predictions(h, Some(z), Some(p))?;
    assert_eq!((heads.projection_dim(), format!("{:?}", heads)), (6, "Encoder { .. }".to_string()));
    let mut wrong = Builder::new(context, 3, 32, 32)?;
    let input = wrong.input();
    let x = wrong.conv2d(input, 0, 3, 1, 1);
    refused(wrong.finish(x, None), Status::Argument, "channels");
    Ok(())
}

fn small_recipe(context: &Context) -> libmio::Result<Recipe> {
    let mut recipe = Recipe::new(context, "mio-tiny")?;
    for (name, value) in [("encoder.base_width", 4.0), ("loader.batch_size", 16.0), ("trainer.steps", 8.0)] {
        recipe.set(name, value)?;
    }
    Ok(recipe)
}

fn test_training(context: &Context, folder: &std::path::Path) -> libmio::Result<()> {
    let (pixels, labels) = stripes();
    let mut recipe = small_recipe(context)?;
    let mut trainer = {
        let dataset = Dataset::from_images(context, COUNT, SIZE, SIZE, 1, pixels.clone(), Some(&labels))?;
        assert_eq!((dataset.len(), dataset.classes(), dataset.label(3)?), (COUNT, 2, 1));
        recipe.build(&dataset)?
    }; // the trainer keeps the pixels
    let mut losses = Vec::new();
    for step in 1..=8 {
        let report = trainer.step()?;
        assert_eq!((report.step, report.total_steps), (step, 8));
        losses.push(report.loss);
        if step == 3 {
            trainer.save(folder.join("run.mio"))?;
        }
    }
    let dataset = Dataset::from_images(context, COUNT, SIZE, SIZE, 1, pixels.clone(), Some(&labels))?;
    let mut resumed = recipe.build(&dataset)?;
    resumed.restore(folder.join("run.mio"))?;
    assert_eq!(resumed.steps_done(), 3);
    for loss in &losses[3..] {
        assert_eq!(resumed.step()?.loss, *loss);
    }
    let features = trainer.encoder().embed_dataset(&dataset)?;
    assert_eq!(features, resumed.encoder().embed_dataset(&dataset)?);

    trainer.encoder().save(folder.join("encoder.mio"))?;
    let encoder = Encoder::load(context, folder.join("encoder.mio"))?;
    let alone = encoder.embed(COUNT, SIZE, SIZE, 1, &pixels)?;
    assert_eq!(alone, features);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(encoder.embed(COUNT, SIZE, SIZE, 1, &pixels).unwrap(), alone));
        }
    });
    refused(Encoder::load(context, folder.join("absent.mio")), Status::Io, "absent.mio");
    recipe.set("trainer.steps", 3)?;
    recipe.set("trainer.join_views", false)?;
    let mut run = recipe.build(&dataset)?;
    let mut steps = Vec::new();
    run.run(|report| {
        steps.push(report.step);
        true
    })?;
    assert_eq!(steps, [1, 2, 3]);
    run.set("steps", 5)?;
    refused(run.run(|_| false), Status::Cancelled, "callback");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.run(|_| std::panic::panic_any(7))));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&7));
    assert_eq!((run.steps_done(), run.into_encoder().feature_dim()), (5, encoder.feature_dim()));
    assert_eq!((dataset.subset(&[5, 2])?.label(0)?, dataset.class_name(0)), (1, None));
    refused(dataset.image_name(0), Status::Unsupported, "name");
    let (few, rest) = dataset.split(0.25, 1)?;
    assert_eq!((few.len(), rest.len()), (16, 48));

    let dim = encoder.feature_dim();
    let mut knn = Knn::new(context)?;
    refused(knn.predict(dim, &features), Status::State, "mio_knn_fit");
    refused(knn.search(dim, &features, 1), Status::State, "mio_knn_fit");
    knn.set("k", 3)?;
    knn.fit(dim, &features, Some(&labels))?;
    assert_eq!(knn.predict(dim, &features)?, labels);
    let (indices, similarities) = knn.search(dim, &features[..dim], 2)?;
    assert!(indices.len() == 2 && similarities[0] >= similarities[1] && similarities[0] > 0.99);
    refused(knn.search(dim, &features, usize::MAX), Status::Argument, "neighbours");
    refused(knn.fit(dim, &features[1..], None), Status::Argument, "no rows");
    let mut probe = Probe::new(context, "exact")?;
    probe.fit(dim, &features, &labels)?;
    assert_eq!(probe.predict(dim, &features)?, labels);
    Ok(())
}

// ---- losses of one's own ----

/// Half the squared distance of the views.
fn half_square<T: Copy + Into<f64> + std::ops::Sub<Output = T>>(rows: Rows<T>) -> libmio::Result<f64> {
    let (mut value, mut gradients) = (0.0, [rows.grad_z1, rows.grad_z2]);
    for i in 0..rows.pairs * rows.dim {
        let (a, b) = (rows.z1[i], rows.z2[i]);
        value += 0.5 * (a - b).into() * (a - b).into();
        for (gradient, d) in gradients.iter_mut().zip([a - b, b - a]) {
            if let Some(to) = gradient {
                to[i] = d;
            }
        }
    }
    Ok(value)
}

/// The mio loss from its definition, with its default parameters.
fn mio_by_definition(rows: Rows<f64>) -> libmio::Result<f64> {
    let (pairs, dim) = (rows.pairs, rows.dim);
    let (count, temperature) = (2 * pairs, 0.5);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let z: Vec<&[f64]> = rows.z1.chunks(dim).chain(rows.z2.chunks(dim)).collect();
    let lengths: Vec<f64> = z.iter().map(|row| dot(row, row).sqrt()).collect();
    let unit: Vec<Vec<f64>> = z.iter().zip(&lengths).map(|(row, l)| row.iter().map(|v| v / l).collect()).collect();
    let (mut value, mut by_unit) = (0.0, vec![vec![0.0; dim]; count]);
    for i in 0..count {
        for j in (0..count).filter(|j| *j != i) {
            let s = dot(&unit[i], &unit[j]);
            let slope = if (i + pairs) % count == j {
                value += (-s / temperature).exp().ln_1p() / count as f64 + (1.0 - s) / (pairs * dim) as f64;
                -1.0 / temperature / (1.0 + (s / temperature).exp()) / pairs as f64 - 2.0 / (pairs * dim) as f64
            } else {
                let share = 1.0 / (count * (count - 2)) as f64;
                value += (s / temperature).exp().ln_1p() * share;
                2.0 * share / temperature / (1.0 + (-s / temperature).exp())
            };
            by_unit[i].iter_mut().zip(&unit[j]).for_each(|(to, v)| *to += slope * v);
        }
    }
    for (view, gradient) in [rows.grad_z1, rows.grad_z2].into_iter().enumerate() {
        for (row, to) in gradient.into_iter().flat_map(|all| all.chunks_mut(dim)).enumerate() {
            let i = view * pairs + row;
            let along = dot(&by_unit[i], &unit[i]);
            to.iter_mut().enumerate().for_each(|(k, g)| *g = (by_unit[i][k] - along * unit[i][k]) / lengths[i]);
        }
    }
    Ok(value)
}

fn in_double(rows: Rows<f32>) -> libmio::Result<f64> {
    let wide = |z: &[f32]| z.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let (z1, z2) = (wide(rows.z1), wide(rows.z2));
    let mut gradients = [vec![0.0; z1.len()], vec![0.0; z1.len()]];
    let [g1, g2] = &mut gradients;
    let value = mio_by_definition(Rows {
        pairs: rows.pairs, dim: rows.dim, z1: &z1, z2: &z2, grad_z1: Some(g1), grad_z2: Some(g2),
    })?;
    for (to, from) in [rows.grad_z1, rows.grad_z2].into_iter().zip(&gradients) {
        to.into_iter().flatten().zip(from).for_each(|(to, g)| *to = *g as f32);
    }
    Ok(value)
}

/// Numbers between -1 and 1, the same in every run.
fn numbers(count: usize) -> Vec<f64> {
    (0..count).map(|i| (1.7 * i as f64 + 0.3 * (i * i) as f64).sin()).collect()
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

/// A panic that panics again where it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

fn test_custom(context: &Context) -> libmio::Result<()> {
    let (z1, z2) = (numbers(24), numbers(48).split_off(24));
    let mut square = Loss::custom_f64(context, "half_square", half_square, half_square)?;
    let (mut g1, mut g2) = (vec![9.0; 24], vec![9.0; 24]);
    let value = square.compute(6, 4, &z1, &z2, Some((&mut g1, &mut g2)))?;
    let apart: Vec<f64> = z1.iter().zip(&z2).map(|(a, b)| a - b).collect();
    assert!((value - apart.iter().map(|d| d * d / 2.0).sum::<f64>()).abs() < 1e-14);
    assert_eq!((square.name().as_str(), &g1), ("half_square", &apart));
    assert!(g1.iter().zip(&g2).all(|(a, b)| *a == -b));
    refused(square.set("temperature", 1.0), Status::Argument, "temperature");

    let mut library = Loss::new(context, "mio")?;
    let mut own = Loss::custom_f64(context, "by_definition", in_double, mio_by_definition)?;
    let (mut l1, mut l2) = (vec![0.0; 24], vec![0.0; 24]);
    let expected = library.compute(6, 4, &z1, &z2, Some((&mut l1, &mut l2)))?;
    assert!((own.compute(6, 4, &z1, &z2, Some((&mut g1, &mut g2)))? - expected).abs() < 1e-13);
    assert!(worst(&g1, &l1) < 1e-14 && worst(&g2, &l2) < 1e-14);
    let narrow = |z: &[f64]| z.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    assert!((own.compute(6, 4, &narrow(&z1), &narrow(&z2), None)? - expected).abs() < 1e-5);

    let alive = Arc::new(AtomicUsize::new(0));
    let calls = alive.clone();
    let mut moody = Loss::custom(context, "moody", move |rows| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => Err(Error { status: Status::Other(0), message: "not now".to_string() }),
        1 => panic!("at {} pairs", rows.pairs),
        2 => std::panic::panic_any(Bomb),
        3 => {
            rows.grad_z1.unwrap()[5] = f32::NAN;
            Ok(1.0)
        }
        4 => Loss::new(&Context::new(&[])?, "nothing").map(|_| 0.0),
        _ => Ok(if rows.grad_z1.is_none() && rows.grad_z2.is_none() { 2.0 } else { 3.0 }),
    })?;
    let (z1, z2, mut g1, mut g2) = (narrow(&z1), narrow(&z2), vec![7.0; 24], vec![7.0; 24]);
    refused(moody.compute(6, 4, &[0.0f64; 24], &[0.0f64; 24], None), Status::Unsupported, "compute_f64");
    refused(moody.compute(6, 4, &z1, &z2, None), Status::Other(0), "not now");
    refused(moody.compute(6, 4, &z1, &z2, None), Status::Cancelled, "the loss 'moody' panicked: at 6 pairs");
    refused(moody.compute(6, 4, &z1, &z2, None), Status::Cancelled, "no text");
    refused(moody.compute(6, 4, &z1, &z2, Some((&mut g1, &mut g2))), Status::State, "row 1, column 1");
    refused(moody.compute(6, 4, &z1, &z2, None), Status::Argument, "nothing");
    refused(moody.compute(6, 4, &z1[1..], &z2, None), Status::Argument, "z1 has 23 values"); // not what was before
    assert_eq!(moody.compute(6, 4, &z1, &z2, None)?, 2.0);
    assert_eq!(moody.compute(6, 4, &z1, &z2, Some((&mut g1, &mut g2)))?, 3.0);
    assert!(g1.iter().chain(&g2).all(|g| *g == 0.0)); // what it did not fill
    assert_eq!((alive.load(Ordering::Relaxed), Arc::strong_count(&alive)), (7, 2));
    drop(moody);
    assert_eq!(Arc::strong_count(&alive), 1);
    refused(Loss::custom(context, "", |_| Ok(0.0)), Status::Argument, "name");
    refused(Loss::custom(context, "a\0b", |_| Ok(0.0)), Status::Argument, "zero byte");
    Ok(())
}

// ---- a run of parts ----

type Statistics = (Vec<f64>, Vec<f64>);

fn small_encoder(context: &Context, normalization: (&[f64], &[f64])) -> libmio::Result<Encoder> {
    let mut builder = Builder::new(context, 1, SIZE, SIZE)?;
    let input = builder.input();
    let x = builder.name("first")?.conv2d(input, 8, 3, 1, 1);
    let x = builder.batch_norm(x);
    let x = builder.relu(x);
    let features = builder.global_average_pool(x);
    let z = builder.projector(features, 2, 16, 8);
    let mut encoder = builder.finish(features, Some(z))?;
    encoder.set_normalization(normalization.0, normalization.1)?;
    Ok(encoder)
}

/// A loader, and the mean and deviation that its views are normalised with.
fn small_loader(context: &Context) -> libmio::Result<(Loader, Statistics)> {
    let (pixels, labels) = stripes();
    let dataset = Dataset::from_images(context, COUNT, SIZE, SIZE, 1, pixels, Some(&labels))?;
    let (mean, deviation) = dataset.statistics()?;
    let mut augment = Augment::new(context, "grey", SIZE, SIZE, 1)?;
    augment.set("flip_probability", 0.25)?;
    augment.set_normalization(&mean, &deviation)?;
    let mut loader = Loader::new(&dataset, augment)?; // which keeps the pixels
    loader.set("batch_size", 16)?;
    Ok((loader, (mean, deviation)))
}

fn trainer_of(context: &Context, loss: Loss) -> libmio::Result<Trainer> {
    let (loader, (mean, deviation)) = small_loader(context)?;
    let mut optimizer = Optimizer::new(context, "lars")?;
    optimizer.set("momentum", 0.8)?;
    optimizer.set_exclusions(&["bn", "projector"])?;
    let mut schedule = Schedule::new(context, "cosine")?;
    schedule.set("learning_rate", 0.05)?;
    let encoder = small_encoder(context, (&mean, &deviation))?;
    let mut trainer = Trainer::new(encoder, loss, optimizer, schedule, loader)?;
    trainer.set("steps", 6)?;
    Ok(trainer)
}

fn weights_of(encoder: &Encoder) -> libmio::Result<Vec<Vec<f32>>> {
    encoder.tensors()?.iter().map(|info| encoder.tensor(&info.name)).collect()
}

/// The library's mio, by way of a closure.
fn relayed(context: &Context, mut before: impl FnMut() -> libmio::Result<()> + Send + 'static) -> libmio::Result<Loss> {
    let mut inner = Loss::new(context, "mio")?;
    Loss::custom(context, "relayed", move |rows| {
        before()?;
        inner.compute(rows.pairs, rows.dim, rows.z1, rows.z2, rows.grad_z1.zip(rows.grad_z2))
    })
}

fn test_loader(context: &Context) -> libmio::Result<()> {
    let (_, labels) = stripes();
    let (mut loader, (mean, deviation)) = small_loader(context)?;
    assert!(mean.len() == 1 && deviation[0] > 0.2 && deviation[0] < 0.5);
    assert_eq!((loader.steps_per_epoch()?, loader.get("views")?), (4, 2.0));
    let first = loader.next_batch()?;
    assert_eq!((first.epoch, first.step, first.count, first.views), (0, 0, 16, 2));
    assert_eq!(first.images.len(), 2 * 16 * SIZE * SIZE);
    assert!(first.indices.iter().zip(first.labels).all(|(index, label)| labels[*index] == *label));
    let (indices, images) = (first.indices.to_vec(), first.images.to_vec());
    assert_ne!(loader.next_batch()?.indices, indices);
    loader.seek(0, 0)?;
    assert_eq!(loader.next_batch()?.images, images);
    loader.seek(3, 1)?;
    assert_eq!(loader.next_batch()?.epoch, 3);
    loader.set("batch_size", 65)?;
    refused(loader.next_batch().map(|_| ()), Status::Argument, "65");
    refused(Augment::new(context, "none", 0, 8, 1), Status::Argument, "0");
    refused(Augment::new(context, "none", 8, 8, 1)?.set_normalization(&[0.0], &[]), Status::Argument, "deviation");
    assert!(Augment::names().contains(&"mio-paper".to_string()));
    let rates = Schedule::new(context, "constant")?;
    assert_eq!((rates.at(3, 4)?, rates.name().as_str()), (rates.get("learning_rate")?, "constant"));
    refused(rates.at(3, 0), Status::Argument, "epoch");
    assert_eq!(Optimizer::names(), ["adamw", "lars", "sgd"]);
    assert_eq!(Schedule::names(), ["constant", "cosine", "step"]);
    let mut optimizer = Optimizer::new(context, "adamw")?;
    refused(optimizer.set_exclusions(&["bias", ""]), Status::Argument, "pattern 1");
    refused(optimizer.set_exclusions(&["a\0"]), Status::Argument, "zero byte");
    optimizer.set_exclusions(&[])?;
    assert_eq!(optimizer.name(), "adamw");
    Ok(())
}

fn test_parts(context: &Context, folder: &std::path::Path) -> libmio::Result<()> {
    let mut plain = trainer_of(context, Loss::new(context, "mio")?)?;
    let mut reports = Vec::new();
    plain.run(|report| {
        reports.push(*report);
        true
    })?;
    assert_eq!((reports.len(), reports[5].total_steps, reports[4].epoch), (6, 6, 1));
    assert!(reports.iter().all(|report| report.loss.is_finite()) && reports[5].loss < reports[0].loss);
    let expected = weights_of(&plain.encoder())?;
    assert_ne!(expected, weights_of(&small_encoder(context, (&[0.5], &[0.5]))?)?);

    // the same parts again, stepped by another thread
    let again = trainer_of(context, Loss::new(context, "mio")?)?;
    let again = std::thread::spawn(move || {
        let mut moved = again;
        moved.run(|_| true).map(|_| moved)
    });
    assert_eq!(weights_of(&again.join().unwrap()?.into_encoder())?, expected);

    // a loss that fails and panics on the way: each time the trainer is as it was
    let mut calls = 0;
    let broken = relayed(context, move || {
        calls += 1;
        match calls {
            2 => Err(Error { status: Status::Io, message: "no disk".to_string() }),
            4 => panic!("no {}", "luck"),
            _ => Ok(()),
        }
    })?;
    let mut trainer = trainer_of(context, broken)?;
    assert_eq!(trainer.step()?.loss, reports[0].loss);
    let before = weights_of(&trainer.encoder())?;
    refused(trainer.step(), Status::Io, "no disk");
    assert_eq!((trainer.steps_done(), weights_of(&trainer.encoder())?), (1, before));
    refused(trainer.run(|_| true), Status::Cancelled, "the loss 'relayed' panicked: no luck");
    assert_eq!(trainer.steps_done(), 2);
    trainer.save(folder.join("parts.mio"))?;
    trainer.run(|_| true)?;
    assert_eq!(weights_of(&trainer.encoder())?, expected);
    let mut resumed = trainer_of(context, relayed(context, || Ok(()))?)?;
    resumed.restore(folder.join("parts.mio"))?;
    for report in &reports[2..] {
        assert_eq!(resumed.step()?.loss, report.loss);
    }
    assert_eq!(weights_of(&resumed.into_encoder())?, expected);
    refused(plain.restore(folder.join("parts.mio")), Status::Argument, "relayed");

    let mut own = trainer_of(context, Loss::custom(context, "by_definition", in_double)?)?;
    assert!((own.step()?.loss - reports[0].loss).abs() < 1e-5);
    refused(own.run(|_| false), Status::Cancelled, "callback");

    // supcon learns from labels, siglip has tensors of its own
    for name in ["supcon", "siglip"] {
        let mut trainer = trainer_of(context, Loss::new(context, name)?)?;
        trainer.set("labels", true)?;
        assert!(trainer.step()?.loss.is_finite());
    }

    let (mut loader, (mean, deviation)) = small_loader(context)?;
    loader.set("views", 3)?;
    let (loss, optimizer) = (Loss::new(context, "mio")?, Optimizer::new(context, "sgd")?);
    let (encoder, schedule) = (small_encoder(context, (&mean, &deviation))?, Schedule::new(context, "constant")?);
    refused(Trainer::new(encoder, loss, optimizer, schedule, loader), Status::Argument, "3 views");
    let mut builder = Builder::new(context, 1, SIZE, SIZE)?;
    let input = builder.input();
    let features = builder.global_average_pool(input);
    let (loss, optimizer) = (Loss::new(context, "mio")?, Optimizer::new(context, "sgd")?);
    let schedule = Schedule::new(context, "constant")?;
    let headless = Trainer::new(builder.finish(features, None)?, loss, optimizer, schedule, small_loader(context)?.0);
    refused(headless, Status::Argument, "projector");
    Ok(())
}

fn test_finetune(context: &Context) -> libmio::Result<()> {
    let (pixels, labels) = stripes();
    let dataset = Dataset::from_images(context, COUNT, SIZE, SIZE, 1, pixels, Some(&labels))?;
    let (train, validation) = dataset.split(0.5, 1)?;
    let (mean, deviation) = dataset.statistics()?;
    let encoder = small_encoder(context, (&mean, &deviation))?;
    assert_eq!(encoder.normalization()?, (mean.clone(), deviation.clone()));
    let before = weights_of(&encoder)?;
    let mut augment = Augment::new(context, "none", SIZE, SIZE, 1)?;
    let mut tuning = Finetune::new(encoder)?;
    for (name, value) in [("epochs", 12.0), ("batch_size", 8.0), ("learning_rate", 0.05)] {
        tuning.set(name, value)?;
    }
    refused(tuning.predict(&dataset), Status::State, "mio_finetune_run");
    refused(tuning.run(&train, None, &augment), Status::Argument, "normalisation");
    augment.set_normalization(&mean, &deviation)?;
    tuning.run(&train, Some(&validation), &augment)?;
    let held_out: Vec<i32> = (0..validation.len()).map(|i| validation.label(i)).collect::<libmio::Result<_>>()?;
    assert!(accuracy(&held_out, &tuning.predict(&validation)?)? > 0.9);
    assert_eq!(tuning.encoder().feature_dim(), 8);
    assert_ne!(weights_of(tuning.encoder())?, before);
    tuning.set("label_fraction", 0.25)?;
    tuning.run(&train, None, &augment)?;
    assert_eq!((tuning.predict(&dataset)?.len(), tuning.into_encoder().projection_dim()), (COUNT, 8));
    let bare = Dataset::from_images(context, 1, SIZE, SIZE, 1, vec![0; SIZE * SIZE], None)?;
    let mut tuning = Finetune::new(small_encoder(context, (&mean, &deviation))?)?;
    refused(tuning.run(&bare, None, &augment), Status::Argument, "label");
    assert_eq!(accuracy(&[1, 2, 3, 4], &[1, 2, 0, 4])?, 0.75);
    refused(accuracy(&[1], &[1, 2]), Status::Argument, "predictions");
    refused(accuracy(&[], &[]), Status::Argument, "at least one");
    Ok(())
}

// ---- analysis ----

fn test_analysis(context: &Context) -> libmio::Result<()> {
    let (z1, z2) = (numbers(18), numbers(36).split_off(18));
    let mut loss = Loss::new(context, "mio")?;
    let mut gradient = vec![0.0; 36];
    let (g1, g2) = gradient.split_at_mut(18);
    loss.compute(6, 3, &z1, &z2, Some((g1, g2)))?;
    let parts = loss.displacements(6, 3, &z1, &z2, 2.0)?;
    let sum = |i| parts.attraction[i] + parts.repulsion[i] + parts.l2[i];
    assert!(gradient.iter().enumerate().all(|(i, g)| (sum(i) + 2.0 * g).abs() < 1e-14));
    assert!(parts.l2.iter().any(|v| *v != 0.0));
    refused(Loss::new(context, "vicreg")?.displacements(6, 3, &z1, &z2, 1.0), Status::Unsupported, "vicreg");
    refused(loss.displacements(6, 3, &z1, &z2, f64::NAN), Status::Argument, "rate");
    refused(loss.displacements(6, 4, &z1, &z2, 1.0), Status::Argument, "z1 has 18 values");

    loss.set("l2_weight", 0.0)?;
    let found = loss.mutual_information(6, 3, &z1, &z2)?;
    let value = loss.compute(6, 3, &z1, &z2, None)?;
    assert!((found.jensen_shannon - (2.0 * 2f64.ln() - value)).abs() < 1e-13);
    assert!((found.jensen_shannon - found.positive_pairs - found.negative_pairs).abs() < 1e-15);
    let mut contrast = Loss::new(context, "nt_xent")?;
    contrast.set("temperature", 0.5)?;
    let entropy = contrast.compute(6, 3, &z1, &z2, None)?;
    assert!((found.info_nce - (11f64.ln() - entropy)).abs() < 1e-13);
    assert_eq!(mutual_information_at(context, 0.5, 0.5, 6, 3, &z1, &z2)?, found);
    assert_ne!(mutual_information_at(context, 0.3, 0.5, 6, 3, &z1, &z2)?.info_nce, found.info_nce);
    refused(mutual_information_at(context, 0.0, 0.5, 6, 3, &z1, &z2), Status::Argument, "temperature");

    // z = W h of 2 features: by differences of the loss in each weight
    let (h, mut weights) = (numbers(24), [0.7, -0.2, 0.1, 0.9, -0.6, 0.4]);
    let projected = |weights: &[f64; 6]| -> Vec<f64> {
        h.chunks(2).flat_map(|row| weights.chunks(2).map(move |w| w[0] * row[0] + w[1] * row[1])).collect()
    };
    let (z, mut by_rows) = (projected(&weights), vec![0.0; 36]);
    let (g1, g2) = by_rows.split_at_mut(18);
    contrast.compute(6, 3, &z[..18], &z[18..], Some((g1, g2)))?;
    let found = projector_gradient(context, 12, 2, 3, &by_rows, &h)?;
    for i in 0..6 {
        let mut values = [0.0; 2];
        for (value, nudge) in values.iter_mut().zip([1e-5, -2e-5]) {
            weights[i] += nudge;
            let z = projected(&weights);
            *value = contrast.compute(6, 3, &z[..18], &z[18..], None)?;
        }
        weights[i] += 1e-5;
        assert!(((values[0] - values[1]) / 2e-5 - found[i]).abs() < 1e-9);
    }
    refused(projector_gradient(context, 12, 2, 3, &by_rows, &h[1..]), Status::Argument, "features has 23 values");
    refused(projector_gradient(context, 0, 2, 3, &[], &[]), Status::Argument, "0 rows");
    refused(projector_gradient(context, 0, usize::MAX, 2, &[], &[]), Status::Memory, "room");
    Ok(())
}

fn test_hessian(context: &Context) -> libmio::Result<()> {
    let (z1, z2, direction) = (numbers(12), numbers(24).split_off(12), numbers(60).split_off(36));
    let mut loss = Loss::new(context, "nt_xent")?;
    let product = loss.hessian_product(4, 3, &z1, &z2, &direction)?;
    let mut sides = [vec![0.0; 24], vec![0.0; 24]];
    for (gradient, step) in sides.iter_mut().zip([1e-5, -1e-5]) {
        let moved = |z: &[f64], along: &[f64]| z.iter().zip(along).map(|(v, d)| v + step * d).collect::<Vec<f64>>();
        let (g1, g2) = gradient.split_at_mut(12);
        let (m1, m2) = (moved(&z1, &direction[..12]), moved(&z2, &direction[12..]));
        loss.compute(4, 3, &m1, &m2, Some((g1, g2)))?;
    }
    let slope: Vec<f64> = sides[0].iter().zip(&sides[1]).map(|(up, down)| (up - down) / 2e-5).collect();
    assert!(worst(&product, &slope) < 1e-8);
    let spectrum = loss.hessian_spectrum(4, 3, &z1, &z2, 5, 0)?;
    assert_eq!((spectrum.eigenvalues.len(), spectrum.weights.len()), (5, 5));
    assert!(spectrum.eigenvalues.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!((spectrum.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert_eq!(loss.hessian_spectrum(4, 3, &z1, &z2, 5, 0)?, spectrum);
    assert_ne!(loss.hessian_spectrum(4, 3, &z1, &z2, 5, 1)?, spectrum);
    assert!(loss.hessian_spectrum(4, 3, &z1, &z2, usize::MAX, 0)?.eigenvalues.len() <= 24);
    refused(loss.hessian_spectrum(4, 3, &z1, &z2, 0, 0), Status::Argument, "0 steps");
    refused(loss.hessian_spectrum(4, 3, &z1, &z2, 1, 1 << 32), Status::Argument, "probe");
    refused(loss.hessian_product(4, 3, &z1, &z2, &direction[1..]), Status::Argument, "direction has 23 values");
    refused(Loss::new(context, "byol")?.hessian_product(4, 3, &z1, &z2, &direction), Status::Unsupported, "byol");

    // half the squared distance: the matrix of 1 and -1, of eigenvalues 0 and 2 and trace 24
    let mut square = Loss::custom_f64(context, "half_square", half_square, half_square)?;
    let apart = square.hessian_product(4, 3, &z1, &z2, &direction)?;
    for i in 0..12 {
        let expected = direction[i] - direction[i + 12];
        assert!((apart[i] - expected).abs() < 1e-8 && (apart[i + 12] + expected).abs() < 1e-8);
    }
    let mut trace = 0.0;
    for i in 0..24 {
        let column: Vec<f64> = (0..24).map(|k| f64::from(u8::from(k == i))).collect();
        trace += square.hessian_product(4, 3, &z1, &z2, &column)?[i];
    }
    assert!((trace - 24.0).abs() < 1e-7);
    let two = square.hessian_spectrum(4, 3, &z1, &z2, 3, 0)?.eigenvalues;
    assert!(two[0].abs() < 1e-7 && (two[two.len() - 1] - 2.0).abs() < 1e-7);
    let mut single = Loss::custom(context, "half_square", half_square)?;
    refused(single.hessian_product(4, 3, &z1, &z2, &direction), Status::Unsupported, "compute_f64");
    Ok(())
}

fn test_encoder_hessian(context: &Context) -> libmio::Result<()> {
    let mut builder = Builder::new(context, 3, 6, 6)?;
    let input = builder.input();
    let mean = builder.global_average_pool(input);
    let z = builder.name("head")?.linear(mean, 4, false);
    let mut encoder = builder.finish(mean, Some(z))?;
    let tensors = encoder.tensors()?;
    assert_eq!((tensors.len(), tensors[0].name.as_str(), tensors[0].trainable), (1, "head.weight", true));
    assert_eq!((tensors[0].shape.as_slice(), encoder.weight_count()), (&[4, 3][..], 12));
    refused(encoder.tensor("neck"), Status::Argument, "neck");
    refused(encoder.set_tensor("head.weight", &[1.0; 11]), Status::Argument, "11");
    let weights: Vec<f32> = numbers(12).iter().map(|v| *v as f32).collect();
    encoder.set_tensor("head.weight", &weights)?;
    assert_eq!(encoder.tensor("head.weight")?, weights);

    // loss = sum over pairs of |W d|^2 / 2 with d the difference of the views' means: each row of W has the Hessian D
    let images: Vec<f32> = numbers(2 * 5 * 36 * 3).iter().map(|v| *v as f32).collect();
    let means: Vec<Vec<f64>> = images
        .chunks(36 * 3)
        .map(|image| (0..3).map(|c| (0..36).map(|p| f64::from(image[3 * p + c])).sum::<f64>() / 36.0).collect())
        .collect();
    let mut hessian = [[0.0; 3]; 3];
    for (first, second) in means[..5].iter().zip(&means[5..]) {
        for (a, row) in hessian.iter_mut().enumerate() {
            for (b, value) in row.iter_mut().enumerate() {
                *value += (first[a] - second[a]) * (first[b] - second[b]);
            }
        }
    }
    let mut square = Loss::custom_f64(context, "half_square", half_square, half_square)?;
    let direction = numbers(30).split_off(18);
    let product = encoder.hessian_product(&mut square, 5, &images, 1e-2, &direction)?;
    let expected: Vec<f64> = direction
        .chunks(3)
        .flat_map(|row| hessian.iter().map(move |h| h.iter().zip(row).map(|(x, y)| x * y).sum::<f64>()))
        .collect();
    let scale = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    assert!(scale > 0.0 && worst(&product, &expected) < 1e-3 * scale, "{:?} {:?}", product, expected);
    let spectrum = encoder.hessian_spectrum(&mut square, 5, &images, 1e-2, 12, 0)?;
    let mut vector = [1.0, 1.0, 1.0];
    let mut largest = 0.0;
    for _ in 0..500 {
        let next: Vec<f64> = hessian.iter().map(|row| row.iter().zip(&vector).map(|(x, y)| x * y).sum()).collect();
        largest = next.iter().map(|v| v * v).sum::<f64>().sqrt();
        vector.iter_mut().zip(&next).for_each(|(v, n)| *v = n / largest);
    }
    let found = spectrum.eigenvalues[spectrum.eigenvalues.len() - 1];
    assert!((found - largest).abs() < 1e-3 * largest, "{} {}", found, largest);
    assert_eq!(encoder.tensor("head.weight")?, weights);

    let mut broken = Loss::custom_f64(context, "broken", half_square, |_| panic!("here"))?;
    refused(encoder.hessian_product(&mut broken, 5, &images, 0.0, &direction), Status::Cancelled, "panicked: here");
    refused(encoder.hessian_spectrum(&mut broken, 5, &images, 0.0, 2, 0), Status::Cancelled, "panicked: here");
    assert_eq!(encoder.tensor("head.weight")?, weights);
    refused(encoder.hessian_product(&mut square, 6, &images, 0.0, &direction), Status::Argument, "images has 1080");
    refused(encoder.hessian_product(&mut square, 5, &images, -1.0, &direction), Status::Argument, "step");
    refused(encoder.hessian_product(&mut square, 5, &images, 0.0, &direction[1..]), Status::Argument, "direction");
    Ok(())
}

fn main() -> Result<(), Error> {
    assert!(libmio::version() >= (0, 1, 0));
    let context = Context::new(&[("threads", 2.0), ("seed", 3.0)])?;
    assert!(["avx512", "avx2", "generic"].contains(&context.target().as_str()));
    refused(Context::new(&[("threads", -1.0)]), Status::Argument, "threads");
    let folder = std::env::temp_dir().join(format!("mio-rust-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    test_loss(&context.clone())?;
    test_builder(&context)?;
    test_training(&context, &folder)?;
    test_custom(&context)?;
    test_loader(&context)?;
    test_parts(&context, &folder)?;
    test_finetune(&context)?;
    test_analysis(&context)?;
    test_hessian(&context)?;
    test_encoder_hessian(&context)?;
    std::fs::remove_dir_all(&folder).unwrap();
    println!("100%: the Rust binding");
    Ok(())
}
