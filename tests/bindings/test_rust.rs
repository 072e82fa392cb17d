//! The Rust binding end to end: a loss, a built encoder, a trainer, saving, loading, embedding from several threads, k-NN.

use libmio::{Builder, Context, Dataset, Encoder, Error, Knn, Loss, Norm, Probe, Recipe, Status, Stem};

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
    std::fs::remove_dir_all(&folder).unwrap();
    println!("100%: the Rust binding");
    Ok(())
}
