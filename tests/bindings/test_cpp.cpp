// The C++ binding end to end: a loss, a builder-made encoder stepped by hand, a trainer, saving, loading, embedding, k-NN.
#include "mio.hpp"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <type_traits>

namespace {

int failures = 0;

void expect(bool condition, const char *what)
{
    if (!condition) {
        std::printf("failed: %s\n", what);
        failures++;
    }
}

/// count images of size x size x 1: class 0 has horizontal stripes, class 1 vertical ones.
std::vector<std::uint8_t> stripes(std::size_t count, std::size_t size)
{
    std::vector<std::uint8_t> pixels(count * size * size);
    for (std::size_t i = 0; i < count; i++)
        for (std::size_t y = 0; y < size; y++)
            for (std::size_t x = 0; x < size; x++)
                pixels[(i * size + y) * size + x] =
                    static_cast<std::uint8_t>(((i % 2 ? x : y) + i / 2) % 4 < 2 ? 200 + i % 50 : 20 + i % 30);
    return pixels;
}

void test_loss(const mio::context &context)
{
    mio::loss loss(context, "mio");
    loss.set("positive_temperature", 0.3);
    loss.set("reduction", "pooled");
    expect(loss.get_parameter("positive_temperature") == 0.3, "a parameter reads back");
    expect(loss.get_parameter("reduction") == 1, "a choice is set by name");
    expect(!loss.parameters().empty() && std::string(loss.parameters()[0].name) == "positive_temperature", "introspection");
    const std::vector<double> z1{1, 0.5, -0.25, 1, 0.125, 2}, z2{0.5, 1, 0.25, -1, 1, 0.75};
    std::vector<double> gradient(6), nudged(z1);
    loss.compute(3, 2, z1.data(), z2.data(), gradient.data());
    nudged[0] += 1e-6;
    const double up = loss.compute(3, 2, nudged.data(), z2.data());
    nudged[0] -= 2e-6;
    const double down = loss.compute(3, 2, nudged.data(), z2.data());
    expect(std::fabs((up - down) / 2e-6 - gradient[0]) < 1e-7, "the gradient is the slope of the value");
    try {
        loss.set("temprature", 1);
        expect(false, "an unknown parameter throws");
    } catch (const mio::error &error) {
        expect(error.status() == MIO_ERROR_ARGUMENT, "the status of the exception");
        expect(std::string(error.what()).find("temprature") != std::string::npos, "the exception names the culprit");
    }
}

void test_given(const mio::context &context)
{
    const std::vector<double> z1{1, 0.5, -0.25, 1, 0.125, 2}, z2{0.5, 1, 0.25, -1, 1, 0.75};
    mio::loss supcon(context, "supcon"), simsiam(context, "simsiam"), moco(context, "moco"), siglip(context, "siglip");
    const double plain = supcon.compute(3, 2, z1.data(), z2.data());
    supcon.set_batch({0, 1, 0});
    expect(supcon.compute(3, 2, z1.data(), z2.data()) != plain, "labels reach the loss");
    supcon.set_batch({});
    expect(supcon.compute(3, 2, z1.data(), z2.data()) == plain, "labels are forgotten");
    simsiam.set_targets(3, 2, z2.data(), z1.data());
    expect(std::fabs(simsiam.compute(3, 2, z1.data(), z2.data()) + 1) < 1e-14, "targets: each its own");
    moco.set_queue(3, 2, z2.data());
    expect(moco.get_parameter("queue_size") == 3, "a queue sets its size");
    siglip.compute(3, 2, z1.data(), z2.data());
    const std::vector<mio_tensor_info> learnt = siglip.tensors();
    expect(learnt.size() == 2 && std::string(learnt[1].name) == "bias", "what siglip learns");
    siglip.set_tensor("bias", {-3});
    expect(siglip.tensor(learnt[1]) == std::vector<double>{-3} && siglip.gradient(learnt[1]).size() == 1, "tensors");
}

void test_analysis(const mio::context &context)
{
    const std::vector<double> z1{1, 0.5, -0.25, 1, 0.125, 2}, z2{0.5, 1, 0.25, -1, 1, 0.75};
    mio::loss loss(context, "mio");
    expect(loss.name() == "mio", "a loss knows its name");
    std::vector<double> gradient(12), nudged(z1), up(12), down(12), direction(12);
    loss.compute(3, 2, z1.data(), z2.data(), gradient.data(), gradient.data() + 6);
    const mio::displacements parts = loss.parts_of_step(3, 2, z1.data(), z2.data(), 2);
    double worst = 0;
    for (std::size_t i = 0; i < 12; i++)
        worst = std::fmax(worst, std::fabs(parts.attraction[i] + parts.repulsion[i] + parts.l2[i] + 2 * gradient[i]));
    expect(worst < 1e-14, "displacements add up to the step");
    direction[0] = 1;
    const std::vector<double> product = loss.hessian_product(3, 2, z1.data(), z2.data(), direction);
    nudged[0] += 1e-5;
    loss.compute(3, 2, nudged.data(), z2.data(), up.data(), up.data() + 6);
    nudged[0] -= 2e-5;
    loss.compute(3, 2, nudged.data(), z2.data(), down.data(), down.data() + 6);
    for (std::size_t i = 0; i < 12; i++)
        worst = std::fmax(worst, std::fabs((up[i] - down[i]) / 2e-5 - product[i]));
    expect(worst < 1e-8, "the Hessian's column is the slope of the gradient");
    const mio::spectrum spectrum = loss.hessian_spectrum(3, 2, z1.data(), z2.data(), 5);
    expect(spectrum.eigenvalues.size() == 5 && spectrum.eigenvalues[0] < spectrum.eigenvalues[4], "a spectrum");
    const mio_mutual_information information = loss.mutual_information(3, 2, z1.data(), z2.data());
    expect(std::fabs(information.jensen_shannon - information.positive_pairs - information.negative_pairs) < 1e-15,
           "mutual information in two parts");
    loss.set("positive_temperature", 0.3);
    loss.set("negative_temperature", 0.7);
    const mio_mutual_information own = loss.mutual_information(3, 2, z1.data(), z2.data());
    const mio_mutual_information given = mio::mutual_information_at(context, 0.3, 0.7, 3, 2, z1.data(), z2.data());
    expect(given.jensen_shannon == own.jensen_shannon && given.info_nce == own.info_nce, "mutual information at temperatures");
    expect(given.jensen_shannon != information.jensen_shannon, "temperatures count");
    const std::vector<double> weights = mio::projector_gradient(context, 2, 3, 1, std::vector<double>{2, -1}.data(),
                                                                std::vector<double>{1, 2, 3, 4, 5, 6}.data());
    expect(weights == std::vector<double>{-2, -1, 0}, "gradient x feature, summed over the rows");
    try {
        mio::projector_gradient(context, 0, 3, 1, z1.data(), z2.data());
        expect(false, "no rows throw");
    } catch (const mio::error &error) {
        expect(error.status() == MIO_ERROR_ARGUMENT, "no rows are MIO_ERROR_ARGUMENT");
    }
}

/// half the squared distance of the views, by hand
struct half_square {
    template <class Real>
    double operator()(std::size_t pairs, std::size_t dim, const Real *z1, const Real *z2, Real *grad_z1, Real *grad_z2) const
    {
        double value = 0;
        for (std::size_t i = 0; i < pairs * dim; i++) {
            const Real apart = z1[i] - z2[i];
            value += 0.5 * apart * apart;
            if (grad_z1)
                grad_z1[i] = apart;
            if (grad_z2)
                grad_z2[i] = -apart;
        }
        return value;
    }
};

void test_custom(const mio::context &context)
{
    const std::vector<double> z1{1, 0.5, -0.25, 1, 0.125, 2}, z2{0.5, 1, 0.25, -1, 1, 0.75};
    std::vector<double> gradient(6);
    mio::loss loss = mio::loss::custom(context, "half_square", half_square());
    expect(loss.name() == "half_square", "a custom loss has its name");
    expect(loss.compute(3, 2, z1.data(), z2.data(), gradient.data()) == half_square()(3, 2, z1.data(), z2.data(),
           (double *)nullptr, (double *)nullptr) && gradient[3] == 2, "a custom loss in double");
    mio::loss narrow = mio::loss::custom(context, "narrow", [](std::size_t, std::size_t, const float *, const float *, float *,
                                                               float *) -> double { throw std::runtime_error("mine"); });
    try {
        narrow.compute(3, 2, z1.data(), z2.data());
        expect(false, "a loss of floats alone refuses doubles");
    } catch (const mio::error &error) {
        expect(error.status() == MIO_ERROR_UNSUPPORTED, "a loss of floats alone is unsupported in double");
    }
    const std::vector<float> rows{1, 2, 3, 4};
    try {
        narrow.compute(2, 2, rows.data(), rows.data());
        expect(false, "a custom loss's exception comes out");
    } catch (const std::runtime_error &error) {
        expect(std::string(error.what()) == "mine", "a custom loss's exception is its own");
    }
}

mio::encoder small_encoder(const mio::context &context)
{
    mio::builder builder(context, 1, 8, 8);
    mio_node x = builder.name("first").conv2d(builder.input(), 8, 3, 1, 1);
    x = builder.relu(builder.batch_norm(x));
    const mio_node h = builder.global_average_pool(x);
    return builder.finish(h, builder.projector(h, 2, 16, 8));
}

void test_heads(const mio::context &context)
{
    mio::builder builder(context, 1, 8, 8);
    const mio_node h = builder.global_average_pool(builder.conv2d(builder.input(), 8, 3, 1, 1));
    const mio_node z = builder.mlp(h, 2, 16, 8, MIO_NORM_AFFINE, MIO_NORM_NONE);
    const mio::encoder encoder = builder.finish(h, z, builder.predictor(z, 2, 4, 8));
    expect(encoder.projection_dim() == 8, "heads");
}

void test_encoder(const mio::context &context, const std::string &folder)
{
    test_heads(context);
    mio::encoder encoder = small_encoder(context);
    expect(encoder.feature_dim() == 8 && encoder.projection_dim() == 8, "dimensions");
    expect(encoder.input_shape() == std::array<std::size_t, 3>{1, 8, 8}, "input shape");
    expect(std::string(encoder.tensors()[0].name) == "first.weight", "tensor names");
    const mio::encoder same = encoder; // shares, does not copy
    expect(same.get() == encoder.get(), "copies share the object");

    std::vector<float> images(2 * 4 * 64), projections(2 * 4 * 8), gradient(projections.size());
    for (std::size_t i = 0; i < images.size(); i++)
        images[i] = std::sin(0.37f * static_cast<float>(i));
    mio::loss loss(context, "mio");
    encoder.forward(2, 4, images.data(), nullptr, projections.data());
    loss.compute(4, 8, projections.data(), projections.data() + 32, gradient.data(), gradient.data() + 32);
    encoder.backward(gradient.data());
    const std::vector<float> weights = encoder.tensor(encoder.tensors()[0]);
    const mio::spectrum spectrum = encoder.hessian_spectrum(loss, 4, images.data(), 3);
    expect(spectrum.eigenvalues.size() == 3 && std::isfinite(spectrum.eigenvalues[0]), "a spectrum by the weights");
    expect(encoder.hessian_product(loss, 4, images.data(), std::vector<double>(encoder.weight_count())).size() ==
               encoder.weight_count(), "a product by the weights");
    expect(encoder.tensor(encoder.tensors()[0]) == weights, "weights stay");

    const std::vector<std::uint8_t> pixels = stripes(6, 8);
    const std::string path = folder + "/encoder.mio";
    encoder.save(path);
    const mio::encoder loaded = mio::encoder::load(context, path);
    expect(loaded.embed(6, 8, 8, 1, pixels.data()) == encoder.embed(6, 8, 8, 1, pixels.data()), "a loaded encoder embeds alike");
    encoder.tune(2, 4, 0); // its layers have no choice
    encoder.save_tuning(folder + "/tuning.txt");
    encoder.load_tuning(folder + "/tuning.txt");
    encoder.clear_tuning();
    expect(!encoder.convolutions(2, 4).empty() && std::string(encoder.convolutions(2, 4)[0].name) == "first" &&
               encoder.convolutions(0, 4)[0].weight_gradient == nullptr, "convolutions");
    try {
        mio::encoder::load(context, folder + "/missing.mio");
        expect(false, "a missing file throws");
    } catch (const mio::error &error) {
        expect(error.status() == MIO_ERROR_IO, "a missing file is MIO_ERROR_IO");
    }
    try {
        mio::encoder::load(context, path + std::string(1, '\0'));
        expect(false, "a path of two parts throws");
    } catch (const std::invalid_argument &) {
    }
}

void test_trainer(const mio::context &context)
{
    const std::vector<std::uint8_t> pixels = stripes(64, 12);
    std::vector<std::int32_t> labels(64);
    for (std::size_t i = 0; i < labels.size(); i++)
        labels[i] = static_cast<std::int32_t>(i % 2);
    const mio::dataset images = mio::dataset::from_memory(context, 64, 12, 12, 1, pixels.data(), labels.data());
    expect(images.size() == 64 && images.classes() == 2 && images.label(3) == 1, "dataset");
    try {
        mio_dataset_options options{};
        options.channels = 2;
        mio::dataset(context, "flat", ".", "", options);
        expect(false, "impossible options throw");
    } catch (const mio::error &error) {
        expect(std::string(error.what()).find("channels") != std::string::npos, "options reach the library");
    }
    mio::recipe recipe(context, "mio-tiny");
    recipe.set("loader.batch_size", 16);
    recipe.set("encoder.base_width", 8);
    recipe.set("projector.hidden", 16);
    recipe.set("projector.out", 8);
    mio::trainer trainer = recipe.build(images);
    trainer.tune(0);
    const mio_step_report report = trainer.step();
    expect(report.step == 1 && std::isfinite(report.loss) && report.learning_rate >= 0, "a step reports");
    int calls = 0;
    try {
        trainer.run([&calls](const mio_step_report &) { return ++calls < 2; });
        expect(false, "a callback that stops ends the run with an exception");
    } catch (const mio::error &error) {
        expect(error.status() == MIO_ERROR_CANCELLED && calls == 2, "a stopped run is cancelled");
    }
    try {
        trainer.run([](const mio_step_report &) -> bool { throw std::runtime_error("mine"); });
    } catch (const std::runtime_error &error) {
        expect(std::string(error.what()) == "mine", "a callback's exception comes out of run");
    }
    const mio::encoder encoder = trainer.encoder();
    const std::vector<float> features = encoder.embed(64, 12, 12, 1, pixels.data());
    std::vector<float> third(encoder.feature_dim());
    encoder.embed(1, 12, 12, 1, pixels.data() + 2 * 144, 0, third.data());
    expect(encoder.embed(images) == features, "a dataset embeds as its images do");
    expect(std::fabs(third[0] - features[2 * third.size()]) < 1e-3F * std::fabs(third[0]), "an image embeds alone");
    mio::knn knn(context);
    knn.set("k", 3);
    knn.fit(64, encoder.feature_dim(), features.data(), labels.data());
    expect(knn.predict(64, encoder.feature_dim(), features.data()).size() == 64, "k-NN predicts");
    const mio::knn::neighbours near = knn.search(2, encoder.feature_dim(), features.data(), 3);
    expect(near.indices.size() == 6 && near.similarities[0] >= near.similarities[1], "k-NN searches");
}

/// A trainer from parts of the caller's.
void test_parts(const mio::context &context)
{
    const std::vector<std::uint8_t> pixels = stripes(64, 8);
    const mio::dataset images = mio::dataset::from_memory(context, 64, 8, 8, 1, pixels.data());
    mio::encoder encoder = small_encoder(context);
    encoder.set_normalization({0.5}, {0.25});
    expect(encoder.normalization().first[0] == 0.5 && encoder.normalization().second[0] == 0.25, "the normalisation");
    mio::augment views(context, "grey", 8, 8, 1);
    views.set_normalization({0.5}, {0.25});
    mio::loader batches(images, views);
    batches.set("batch_size", 16);
    expect(batches.steps_per_epoch() == 4 && batches.next().count == 16, "the loader");
    batches.seek(3, 1);
    expect(batches.next().epoch == 3, "a loader goes where it is told");
    batches.seek(0, 0);
    mio::optimizer sgd(context, "sgd");
    sgd.add(encoder);
    mio::schedule rates(context, "constant");
    rates.set("learning_rate", 0.01);
    expect(rates.at(3, 4) == 0.01, "the schedule");
    mio::trainer trainer(encoder, mio::loss(context, "nt_xent"), sgd, rates, batches);
    const mio_step_report report = trainer.step();
    expect(report.step == 1 && report.learning_rate == 0.01 && std::isfinite(report.loss), "a trainer from parts steps");
    expect(trainer.encoder().get() == encoder.get(), "its encoder is the caller's");
    mio::optimizer another(context, "sgd");
    another.add(encoder);
    mio::trainer custom(encoder, mio::loss::custom(context, "half_square", half_square()), another, rates, batches);
    expect(custom.step().loss > 0, "a trainer keeps its custom loss");
}

void test_labels(const mio::context &context)
{
    const std::vector<std::uint8_t> pixels = stripes(64, 8);
    std::vector<std::int32_t> labels(64);
    for (std::size_t i = 0; i < labels.size(); i++)
        labels[i] = static_cast<std::int32_t>(i % 2);
    const mio::dataset images = mio::dataset::from_memory(context, 64, 8, 8, 1, pixels.data(), labels.data());
    expect(images.subset({5, 2}).label(0) == 1 && images.class_name(0).empty(), "a subset");
    const auto [train, validation] = images.split(0.5, 1);
    expect(train.size() == 32 && validation.size() == 32, "a split");
    mio::encoder encoder = small_encoder(context);
    const std::vector<float> features = encoder.embed(64, 8, 8, 1, pixels.data());
    std::vector<float> logits(128);
    mio::probe probe(context);
    probe.fit(64, 8, features.data(), labels.data(), 2);
    const std::vector<std::int32_t> found = probe.predict(64, 8, features.data(), logits.data());
    expect((logits[0] < logits[1]) == (found[0] == 1) && found == labels, "a probe tells stripes apart");
    mio::augment views(context, "none", 8, 8, 1);
    mio::finetune tuning(encoder);
    tuning.set("batch_size", 8);
    tuning.set("epochs", 10);
    tuning.set("learning_rate", 0.05);
    tuning.run(train, views, validation);
    expect(tuning.predict(images) == labels, "fine-tuning learns labels");
    tuning.run(train, views);
    const auto [mean, deviation] = images.statistics();
    expect(mean.size() == 1 && deviation[0] > 0.2 && deviation[0] < 0.5, "statistics");
}

} // namespace

int main()
{
    const auto folder = std::filesystem::temp_directory_path() / ("mio-cpp-" + std::to_string(std::hash<const void *>()(&failures)));
    std::filesystem::create_directories(folder);
    try {
        const mio::context context;
        test_loss(context);
        test_given(context);
        test_custom(context);
        test_analysis(context);
        test_encoder(context, folder.string());
        test_trainer(context);
        test_parts(context);
        test_labels(context);
    } catch (const std::exception &error) {
        std::printf("failed: %s\n", error.what());
        failures++;
    }
    std::filesystem::remove_all(folder);
    std::printf("%s\n", failures ? "the C++ binding is broken" : "the C++ binding works");
    return failures != 0;
}
