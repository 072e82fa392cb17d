//! The C library's declarations, those that are used here.
#![allow(non_camel_case_types)]

use std::os::raw::{c_char, c_int, c_void};

use crate::analysis::MutualInformation;
use crate::train::Report;

macro_rules! opaque {
    ($($name:ident)*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* };
}
opaque!(mio_context mio_loss mio_builder mio_encoder mio_dataset mio_augment mio_loader mio_optimizer mio_schedule);
opaque!(mio_recipe mio_trainer mio_knn mio_probe mio_finetune);

/// `mio_loss_callback`'s function for rows of T.
pub type Compute<T> = unsafe extern "C" fn(
    user: *mut c_void, pairs: usize, dim: usize, z1: *const T, z2: *const T, value: *mut f64, grad_z1: *mut T,
    grad_z2: *mut T,
) -> c_int;

#[repr(C)]
pub struct mio_loss_callback {
    pub struct_size: usize,
    pub user: *mut c_void,
    pub compute: Option<Compute<f32>>,
    pub compute_f64: Option<Compute<f64>>,
}

#[repr(C)]
pub struct mio_tensor_info {
    pub struct_size: usize,
    pub name: *const c_char,
    pub rank: usize,
    pub shape: [usize; 4],
    pub count: usize,
    pub trainable: i32,
}

#[repr(C)]
pub struct mio_batch {
    pub struct_size: usize,
    pub epoch: u64,
    pub step: u64,
    pub count: usize,
    pub views: usize,
    pub images: *const f32,
    pub indices: *const usize,
    pub labels: *const i32,
    pub wait_seconds: f64,
}

#[link(name = "mio")]
extern "C" {
    pub fn mio_last_error() -> *const c_char;
    pub fn mio_version() -> u32;

    pub fn mio_context_create(context: *mut *mut mio_context) -> c_int;
    pub fn mio_context_retain(context: *mut mio_context) -> *mut mio_context;
    pub fn mio_context_release(context: *mut mio_context);
    pub fn mio_context_set(context: *mut mio_context, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_context_target(context: *const mio_context) -> *const c_char;

    pub fn mio_loss_name_at(index: usize) -> *const c_char;
    pub fn mio_loss_create(context: *mut mio_context, name: *const c_char, loss: *mut *mut mio_loss) -> c_int;
    pub fn mio_loss_create_custom(
        context: *mut mio_context, name: *const c_char, callback: *const mio_loss_callback, loss: *mut *mut mio_loss,
    ) -> c_int;
    pub fn mio_loss_release(loss: *mut mio_loss);
    pub fn mio_loss_name(loss: *const mio_loss) -> *const c_char;
    pub fn mio_loss_set(loss: *mut mio_loss, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_loss_set_text(loss: *mut mio_loss, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_loss_get(loss: *const mio_loss, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_loss_set_batch(loss: *mut mio_loss, count: usize, labels: *const i32, indices: *const usize) -> c_int;
    pub fn mio_loss_compute(
        loss: *mut mio_loss, pairs: usize, dim: usize, z1: *const f32, z2: *const f32, value: *mut f64,
        grad_z1: *mut f32, grad_z2: *mut f32,
    ) -> c_int;
    pub fn mio_loss_compute_f64(
        loss: *mut mio_loss, pairs: usize, dim: usize, z1: *const f64, z2: *const f64, value: *mut f64,
        grad_z1: *mut f64, grad_z2: *mut f64,
    ) -> c_int;

    pub fn mio_builder_create(
        context: *mut mio_context, channels: usize, height: usize, width: usize, builder: *mut *mut mio_builder,
    ) -> c_int;
    pub fn mio_builder_release(builder: *mut mio_builder);
    pub fn mio_builder_name(builder: *mut mio_builder, name: *const c_char);
    pub fn mio_builder_input(builder: *mut mio_builder) -> i32;
    pub fn mio_builder_conv2d(
        builder: *mut mio_builder, input: i32, out_channels: usize, kernel: usize, stride: usize, padding: usize,
    ) -> i32;
    pub fn mio_builder_batch_norm(builder: *mut mio_builder, input: i32) -> i32;
    pub fn mio_builder_batch_norm_plain(builder: *mut mio_builder, input: i32) -> i32;
    pub fn mio_builder_relu(builder: *mut mio_builder, input: i32) -> i32;
    pub fn mio_builder_max_pool(
        builder: *mut mio_builder, input: i32, kernel: usize, stride: usize, padding: usize,
    ) -> i32;
    pub fn mio_builder_global_average_pool(builder: *mut mio_builder, input: i32) -> i32;
    pub fn mio_builder_add(builder: *mut mio_builder, left: i32, right: i32) -> i32;
    pub fn mio_builder_linear(builder: *mut mio_builder, input: i32, out_features: usize, bias: i32) -> i32;
    pub fn mio_builder_resnet(
        builder: *mut mio_builder, input: i32, depth: i32, base_width: usize, stem: c_int,
    ) -> i32;
    pub fn mio_builder_projector(
        builder: *mut mio_builder, input: i32, layers: usize, hidden: usize, out: usize,
    ) -> i32;
    pub fn mio_builder_predictor(
        builder: *mut mio_builder, input: i32, layers: usize, hidden: usize, out: usize,
    ) -> i32;
    pub fn mio_builder_mlp(
        builder: *mut mio_builder, input: i32, layers: usize, hidden: usize, out: usize, hidden_norm: c_int,
        last_norm: c_int,
    ) -> i32;
    pub fn mio_builder_finish_with_predictions(
        builder: *mut mio_builder, features: i32, projections: i32, predictions: i32, encoder: *mut *mut mio_encoder,
    ) -> c_int;

    pub fn mio_encoder_retain(encoder: *mut mio_encoder) -> *mut mio_encoder;
    pub fn mio_encoder_release(encoder: *mut mio_encoder);
    pub fn mio_encoder_set(encoder: *mut mio_encoder, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_encoder_set_text(encoder: *mut mio_encoder, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_encoder_get(encoder: *const mio_encoder, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_encoder_feature_dim(encoder: *const mio_encoder, dim: *mut usize) -> c_int;
    pub fn mio_encoder_projection_dim(encoder: *const mio_encoder, dim: *mut usize) -> c_int;
    pub fn mio_encoder_input_shape(
        encoder: *const mio_encoder, channels: *mut usize, height: *mut usize, width: *mut usize,
    ) -> c_int;
    pub fn mio_encoder_set_normalization(
        encoder: *mut mio_encoder, channels: usize, mean: *const f64, deviation: *const f64,
    ) -> c_int;
    pub fn mio_encoder_get_normalization(
        encoder: *const mio_encoder, channels: usize, mean: *mut f64, deviation: *mut f64,
    ) -> c_int;
    pub fn mio_encoder_tensor_count(encoder: *const mio_encoder) -> usize;
    pub fn mio_encoder_tensor(encoder: *const mio_encoder, index: usize, info: *mut mio_tensor_info) -> c_int;
    pub fn mio_encoder_get_tensor(
        encoder: *const mio_encoder, name: *const c_char, count: usize, values: *mut f32,
    ) -> c_int;
    pub fn mio_encoder_set_tensor(
        encoder: *mut mio_encoder, name: *const c_char, count: usize, values: *const f32,
    ) -> c_int;
    pub fn mio_encoder_embed(
        encoder: *mut mio_encoder, count: usize, height: usize, width: usize, channels: usize, row_stride: usize,
        images: *const u8, features: *mut f32,
    ) -> c_int;
    pub fn mio_encoder_load(context: *mut mio_context, path: *const c_char, encoder: *mut *mut mio_encoder) -> c_int;
    pub fn mio_encoder_save(encoder: *const mio_encoder, path: *const c_char) -> c_int;

    pub fn mio_dataset_open(
        context: *mut mio_context, format: *const c_char, path: *const c_char, split: *const c_char,
        dataset: *mut *mut mio_dataset,
    ) -> c_int;
    pub fn mio_dataset_from_memory(
        context: *mut mio_context, count: usize, height: usize, width: usize, channels: usize, row_stride: usize,
        images: *const u8, labels: *const i32, dataset: *mut *mut mio_dataset,
    ) -> c_int;
    pub fn mio_dataset_subset(
        dataset: *mut mio_dataset, count: usize, indices: *const usize, subset: *mut *mut mio_dataset,
    ) -> c_int;
    pub fn mio_dataset_split(
        dataset: *mut mio_dataset, fraction: f64, seed: u64, first: *mut *mut mio_dataset,
        second: *mut *mut mio_dataset,
    ) -> c_int;
    pub fn mio_dataset_class_name(dataset: *const mio_dataset, label: usize) -> *const c_char;
    pub fn mio_dataset_image_name(dataset: *const mio_dataset, index: usize, name: *mut *const c_char) -> c_int;
    pub fn mio_dataset_release(dataset: *mut mio_dataset);
    pub fn mio_dataset_count(dataset: *const mio_dataset) -> usize;
    pub fn mio_dataset_channels(dataset: *const mio_dataset) -> usize;
    pub fn mio_dataset_class_count(dataset: *const mio_dataset) -> usize;
    pub fn mio_dataset_label(dataset: *const mio_dataset, index: usize, label: *mut i32) -> c_int;
    pub fn mio_dataset_statistics(
        dataset: *const mio_dataset, channels: usize, mean: *mut f64, deviation: *mut f64,
    ) -> c_int;

    pub fn mio_augment_name_at(index: usize) -> *const c_char;
    pub fn mio_augment_create(
        context: *mut mio_context, preset: *const c_char, height: usize, width: usize, channels: usize,
        augment: *mut *mut mio_augment,
    ) -> c_int;
    pub fn mio_augment_release(augment: *mut mio_augment);
    pub fn mio_augment_set(augment: *mut mio_augment, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_augment_set_text(augment: *mut mio_augment, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_augment_get(augment: *const mio_augment, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_augment_set_normalization(
        augment: *mut mio_augment, channels: usize, mean: *const f64, deviation: *const f64,
    ) -> c_int;

    pub fn mio_loader_create(
        dataset: *mut mio_dataset, augment: *mut mio_augment, loader: *mut *mut mio_loader,
    ) -> c_int;
    pub fn mio_loader_release(loader: *mut mio_loader);
    pub fn mio_loader_set(loader: *mut mio_loader, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_loader_set_text(loader: *mut mio_loader, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_loader_get(loader: *const mio_loader, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_loader_steps_per_epoch(loader: *const mio_loader, steps: *mut u64) -> c_int;
    pub fn mio_loader_next(loader: *mut mio_loader, batch: *mut mio_batch) -> c_int;
    pub fn mio_loader_seek(loader: *mut mio_loader, epoch: u64, step: u64) -> c_int;

    pub fn mio_optimizer_name_at(index: usize) -> *const c_char;
    pub fn mio_optimizer_create(
        context: *mut mio_context, name: *const c_char, optimizer: *mut *mut mio_optimizer,
    ) -> c_int;
    pub fn mio_optimizer_release(optimizer: *mut mio_optimizer);
    pub fn mio_optimizer_name(optimizer: *const mio_optimizer) -> *const c_char;
    pub fn mio_optimizer_set(optimizer: *mut mio_optimizer, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_optimizer_set_text(
        optimizer: *mut mio_optimizer, parameter: *const c_char, text: *const c_char,
    ) -> c_int;
    pub fn mio_optimizer_get(optimizer: *const mio_optimizer, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_optimizer_set_exclusions(
        optimizer: *mut mio_optimizer, count: usize, patterns: *const *const c_char,
    ) -> c_int;

    pub fn mio_schedule_name_at(index: usize) -> *const c_char;
    pub fn mio_schedule_create(
        context: *mut mio_context, name: *const c_char, schedule: *mut *mut mio_schedule,
    ) -> c_int;
    pub fn mio_schedule_release(schedule: *mut mio_schedule);
    pub fn mio_schedule_name(schedule: *const mio_schedule) -> *const c_char;
    pub fn mio_schedule_set(schedule: *mut mio_schedule, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_schedule_set_text(schedule: *mut mio_schedule, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_schedule_get(schedule: *const mio_schedule, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_schedule_at(
        schedule: *const mio_schedule, step: u64, steps_per_epoch: u64, learning_rate: *mut f64,
    ) -> c_int;

    pub fn mio_recipe_create(context: *mut mio_context, name: *const c_char, recipe: *mut *mut mio_recipe) -> c_int;
    pub fn mio_recipe_release(recipe: *mut mio_recipe);
    pub fn mio_recipe_set(recipe: *mut mio_recipe, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_recipe_set_text(recipe: *mut mio_recipe, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_recipe_get(recipe: *const mio_recipe, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_recipe_choose(recipe: *mut mio_recipe, part: *const c_char, name: *const c_char) -> c_int;
    pub fn mio_recipe_build(
        recipe: *mut mio_recipe, dataset: *mut mio_dataset, trainer: *mut *mut mio_trainer,
    ) -> c_int;

    pub fn mio_trainer_create(
        encoder: *mut mio_encoder, loss: *mut mio_loss, optimizer: *mut mio_optimizer, schedule: *mut mio_schedule,
        loader: *mut mio_loader, trainer: *mut *mut mio_trainer,
    ) -> c_int;
    pub fn mio_trainer_release(trainer: *mut mio_trainer);
    pub fn mio_trainer_set(trainer: *mut mio_trainer, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_trainer_set_text(trainer: *mut mio_trainer, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_trainer_get(trainer: *const mio_trainer, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_trainer_run(
        trainer: *mut mio_trainer, callback: Option<unsafe extern "C" fn(*mut c_void, *const Report) -> i32>,
        user: *mut c_void,
    ) -> c_int;
    pub fn mio_trainer_step(trainer: *mut mio_trainer, report: *mut Report) -> c_int;
    pub fn mio_trainer_encoder(trainer: *mut mio_trainer) -> *mut mio_encoder;
    pub fn mio_trainer_steps_done(trainer: *const mio_trainer) -> u64;
    pub fn mio_trainer_save(trainer: *const mio_trainer, path: *const c_char) -> c_int;
    pub fn mio_trainer_restore(trainer: *mut mio_trainer, path: *const c_char) -> c_int;

    pub fn mio_evaluate_embed(encoder: *mut mio_encoder, dataset: *const mio_dataset, features: *mut f32) -> c_int;
    pub fn mio_evaluate_accuracy(
        count: usize, labels: *const i32, predictions: *const i32, accuracy: *mut f64,
    ) -> c_int;

    pub fn mio_knn_create(context: *mut mio_context, knn: *mut *mut mio_knn) -> c_int;
    pub fn mio_knn_release(knn: *mut mio_knn);
    pub fn mio_knn_set(knn: *mut mio_knn, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_knn_set_text(knn: *mut mio_knn, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_knn_get(knn: *const mio_knn, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_knn_fit(
        knn: *mut mio_knn, count: usize, dim: usize, features: *const f32, labels: *const i32,
    ) -> c_int;
    pub fn mio_knn_predict(
        knn: *mut mio_knn, count: usize, dim: usize, queries: *const f32, predictions: *mut i32,
    ) -> c_int;
    pub fn mio_knn_search(
        knn: *mut mio_knn, count: usize, dim: usize, queries: *const f32, neighbours: usize, indices: *mut usize,
        similarities: *mut f32,
    ) -> c_int;

    pub fn mio_probe_create(context: *mut mio_context, solver: *const c_char, probe: *mut *mut mio_probe) -> c_int;
    pub fn mio_probe_release(probe: *mut mio_probe);
    pub fn mio_probe_set(probe: *mut mio_probe, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_probe_set_text(probe: *mut mio_probe, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_probe_get(probe: *const mio_probe, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_probe_fit(
        probe: *mut mio_probe, count: usize, dim: usize, features: *const f32, labels: *const i32, classes: usize,
    ) -> c_int;
    pub fn mio_probe_predict(
        probe: *mut mio_probe, count: usize, dim: usize, features: *const f32, predictions: *mut i32,
        logits: *mut f32,
    ) -> c_int;

    pub fn mio_finetune_create(encoder: *mut mio_encoder, finetune: *mut *mut mio_finetune) -> c_int;
    pub fn mio_finetune_release(finetune: *mut mio_finetune);
    pub fn mio_finetune_set(finetune: *mut mio_finetune, parameter: *const c_char, value: f64) -> c_int;
    pub fn mio_finetune_set_text(finetune: *mut mio_finetune, parameter: *const c_char, text: *const c_char) -> c_int;
    pub fn mio_finetune_get(finetune: *const mio_finetune, parameter: *const c_char, value: *mut f64) -> c_int;
    pub fn mio_finetune_run(
        finetune: *mut mio_finetune, train: *mut mio_dataset, validation: *mut mio_dataset, augment: *mut mio_augment,
    ) -> c_int;
    pub fn mio_finetune_predict(
        finetune: *mut mio_finetune, dataset: *const mio_dataset, predictions: *mut i32,
    ) -> c_int;

    pub fn mio_analysis_displacements(
        loss: *mut mio_loss, pairs: usize, dim: usize, z1: *const f64, z2: *const f64, rate: f64, attraction: *mut f64,
        repulsion: *mut f64, l2: *mut f64,
    ) -> c_int;
    pub fn mio_analysis_mutual_information(
        loss: *mut mio_loss, pairs: usize, dim: usize, z1: *const f64, z2: *const f64,
        information: *mut MutualInformation,
    ) -> c_int;
    pub fn mio_analysis_mutual_information_at(
        context: *mut mio_context, positive_temperature: f64, negative_temperature: f64, pairs: usize, dim: usize,
        z1: *const f64, z2: *const f64, information: *mut MutualInformation,
    ) -> c_int;
    pub fn mio_analysis_projector_gradient(
        context: *mut mio_context, count: usize, inputs: usize, outputs: usize, gradients: *const f64,
        features: *const f64, weights: *mut f64,
    ) -> c_int;
    pub fn mio_analysis_hessian_product(
        loss: *mut mio_loss, pairs: usize, dim: usize, z1: *const f64, z2: *const f64, direction: *const f64,
        product: *mut f64,
    ) -> c_int;
    pub fn mio_analysis_hessian_spectrum(
        loss: *mut mio_loss, pairs: usize, dim: usize, z1: *const f64, z2: *const f64, steps: usize, probe: u64,
        eigenvalues: *mut f64, weights: *mut f64, count: *mut usize,
    ) -> c_int;
    pub fn mio_analysis_encoder_weights(encoder: *const mio_encoder, count: *mut usize) -> c_int;
    pub fn mio_analysis_encoder_hessian_product(
        encoder: *mut mio_encoder, loss: *mut mio_loss, pairs: usize, images: *const f32, step: f64,
        direction: *const f64, product: *mut f64,
    ) -> c_int;
    pub fn mio_analysis_encoder_hessian_spectrum(
        encoder: *mut mio_encoder, loss: *mut mio_loss, pairs: usize, images: *const f32, step: f64, steps: usize,
        probe: u64, eigenvalues: *mut f64, weights: *mut f64, count: *mut usize,
    ) -> c_int;
}
