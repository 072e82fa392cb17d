// libmio for C++17: handles that release themselves, statuses that become exceptions. Header-only over the C API; every
// object's .get() is the C handle, so any C call remains at hand.
//
//     mio::context context;
//     mio::loss loss(context, "mio");
//     loss.set("positive_temperature", 0.3);
//     double value = loss.compute(pairs, dim, z1, z2, grad_z1, grad_z2);
#ifndef MIO_HPP
#define MIO_HPP

#include <mio/mio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace mio {

/// A failed call: what() is mio_last_error()'s text, status() its kind.
class error : public std::runtime_error {
public:
    error(mio_status status, const std::string &text) : std::runtime_error(text), status_(status) {}
    mio_status status() const noexcept { return status_; }

private:
    mio_status status_;
};

namespace detail {

/// What a function that C called threw: nothing may unwind through C, so the call of C that led to it fails, and
/// check() throws this on.
inline std::exception_ptr &thrown() noexcept
{
    thread_local std::exception_ptr exception;
    return exception;
}

template <class Call> mio_status guarded(Call call) noexcept
{
    try {
        call();
        return MIO_OK;
    } catch (...) {
        thrown() = std::current_exception();
        return MIO_ERROR_CANCELLED;
    }
}

} // namespace detail

/// Throws mio::error for anything but MIO_OK, or what a callback threw.
inline void check(mio_status status)
{
    if (status == MIO_OK)
        return;
    if (const std::exception_ptr exception = std::exchange(detail::thrown(), nullptr))
        std::rethrow_exception(exception);
    throw error(status, mio_last_error());
}

namespace detail {

/// A name or a path, whole: C would end it at a zero character.
inline const char *text(const std::string &given)
{
    if (given.find('\0') != std::string::npos)
        throw std::invalid_argument("a name or path has a zero character in it");
    return given.c_str();
}

/// Shared ownership of a C handle: copying retains, destruction releases.
template <class T, T *(*Retain)(T *), void (*Release)(T *)> class handle {
public:
    handle() noexcept = default;
    /// Takes over a reference that the caller owns.
    explicit handle(T *owned) noexcept : pointer_(owned) {}
    handle(const handle &other) noexcept : pointer_(Retain(other.pointer_)) {}
    handle(handle &&other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
    handle &operator=(handle other) noexcept
    {
        std::swap(pointer_, other.pointer_);
        return *this;
    }
    ~handle() { Release(pointer_); }
    T *get() const noexcept { return pointer_; }
    explicit operator bool() const noexcept { return pointer_ != nullptr; }

protected:
    T *pointer_ = nullptr;
};

/// Named parameters of a handle: one mechanism for every noun.
template <class T, T *(*Retain)(T *), void (*Release)(T *), mio_status (*Set)(T *, const char *, double),
          mio_status (*SetText)(T *, const char *, const char *), mio_status (*Get)(const T *, const char *, double *),
          std::size_t (*Count)(const T *), mio_status (*Info)(const T *, std::size_t, mio_parameter_info *)>
class object : public handle<T, Retain, Release> {
public:
    using handle<T, Retain, Release>::handle;
    void set(const std::string &parameter, double value) { check(Set(this->pointer_, detail::text(parameter), value)); }
    void set(const std::string &parameter, const std::string &text)
    {
        check(SetText(this->pointer_, detail::text(parameter), detail::text(text)));
    }
    double get_parameter(const std::string &parameter) const
    {
        double value;
        check(Get(this->pointer_, detail::text(parameter), &value));
        return value;
    }
    std::vector<mio_parameter_info> parameters() const
    {
        std::vector<mio_parameter_info> table(Count(this->pointer_));
        for (std::size_t i = 0; i < table.size(); i++) {
            table[i].struct_size = sizeof table[i];
            check(Info(this->pointer_, i, &table[i]));
        }
        return table;
    }
};

// The C functions that make up one noun.
#define MIO_HPP_OBJECT(noun)                                                                                             \
    detail::object<mio_##noun, mio_##noun##_retain, mio_##noun##_release, mio_##noun##_set, mio_##noun##_set_text,      \
                   mio_##noun##_get, mio_##noun##_parameter_count, mio_##noun##_parameter>

} // namespace detail

class context : public MIO_HPP_OBJECT(context) {
public:
    explicit context(const mio_context_options *options = nullptr) { check(mio_context_create_with(options, &pointer_)); }
    std::string target() const { return mio_context_target(pointer_); }
};

/// Estimates of mutual information at given temperatures, whatever the loss: of any two pairs x dim embeddings.
inline mio_mutual_information mutual_information_at(const context &owner, double positive_temperature,
                                                    double negative_temperature, std::size_t pairs, std::size_t dim,
                                                    const double *z1, const double *z2)
{
    mio_mutual_information found{};
    found.struct_size = sizeof found;
    check(mio_analysis_mutual_information_at(owner.get(), positive_temperature, negative_temperature, pairs, dim, z1, z2,
                                             &found));
    return found;
}

/// What reaches the weights (out x in) of a linear projector from gradients (count x out) and features (count x in).
inline std::vector<double> projector_gradient(const context &owner, std::size_t count, std::size_t in, std::size_t out,
                                              const double *gradients, const double *features)
{
    std::vector<double> weights(out * in);
    check(mio_analysis_projector_gradient(owner.get(), count, in, out, gradients, features, weights.data()));
    return weights;
}

/// The parts of a step on rows, dz = -rate dL/dz.
struct displacements {
    std::vector<double> attraction, repulsion, l2;
};

/// Eigenvalues, ascending, and the shares of the whole spectrum that they stand for.
struct spectrum {
    std::vector<double> eigenvalues, weights;

    template <class Call> static spectrum of(std::size_t steps, Call call)
    {
        spectrum found{std::vector<double>(steps), std::vector<double>(steps)};
        std::size_t count;
        check(call(found.eigenvalues.data(), found.weights.data(), &count));
        found.eigenvalues.resize(count);
        found.weights.resize(count);
        return found;
    }
};

class loss : public MIO_HPP_OBJECT(loss) {
public:
    loss(const context &owner, const std::string &name) { check(mio_loss_create(owner.get(), detail::text(name), &pointer_)); }
    /// A loss of the caller's own, to be used wherever a loss is: function(pairs, dim, z1, z2, grad_z1, grad_z2)
    /// returns the value and fills the gradients that are not null, of floats; if it takes doubles too, the loss also
    /// works in double. It lives as long as this object, its copies, and trainers made with them. What it throws comes
    /// out of the call that led to it.
    template <class Function> static loss custom(const context &owner, const std::string &name, Function function)
    {
        const auto kept = std::make_shared<Function>(std::move(function));
        mio_loss_callback callback{sizeof callback, kept.get(), call<Function, float>, nullptr};
        if constexpr (std::is_invocable_v<Function &, std::size_t, std::size_t, const double *, const double *, double *,
                                          double *>)
            callback.compute_f64 = call<Function, double>;
        loss made;
        check(mio_loss_create_custom(owner.get(), detail::text(name), &callback, &made.pointer_));
        made.function_ = kept;
        return made;
    }
    /// Value of pairs x dim arrays; gradients may be null.
    double compute(std::size_t pairs, std::size_t dim, const float *z1, const float *z2, float *grad_z1 = nullptr,
                   float *grad_z2 = nullptr)
    {
        double value;
        check(mio_loss_compute(pointer_, pairs, dim, z1, z2, &value, grad_z1, grad_z2));
        return value;
    }
    double compute(std::size_t pairs, std::size_t dim, const double *z1, const double *z2, double *grad_z1 = nullptr,
                   double *grad_z2 = nullptr)
    {
        double value;
        check(mio_loss_compute_f64(pointer_, pairs, dim, z1, z2, &value, grad_z1, grad_z2));
        return value;
    }
    std::string name() const
    {
        const char *const name = mio_loss_name(pointer_);
        return name ? name : "";
    }

    /// Labels and dataset indices of the images to come; either may be empty, and is then forgotten.
    void set_batch(const std::vector<std::int32_t> &labels, const std::vector<std::size_t> &indices = {})
    {
        if (!labels.empty() && !indices.empty() && labels.size() != indices.size())
            throw std::invalid_argument("labels and indices differ in number");
        check(mio_loss_set_batch(pointer_, labels.empty() ? indices.size() : labels.size(),
                                 labels.empty() ? nullptr : labels.data(), indices.empty() ? nullptr : indices.data()));
    }
    /// Constant targets, pairs x dim; either may be null, both null forgets them.
    void set_targets(std::size_t pairs, std::size_t dim, const float *t1, const float *t2)
    {
        check(mio_loss_set_targets(pointer_, pairs, dim, t1, t2));
    }
    void set_targets(std::size_t pairs, std::size_t dim, const double *t1, const double *t2)
    {
        check(mio_loss_set_targets_f64(pointer_, pairs, dim, t1, t2));
    }
    /// Replaces the queue: count x dim, oldest first.
    void set_queue(std::size_t count, std::size_t dim, const float *rows)
    {
        check(mio_loss_set_queue(pointer_, count, dim, rows));
    }
    void set_queue(std::size_t count, std::size_t dim, const double *rows)
    {
        check(mio_loss_set_queue_f64(pointer_, count, dim, rows));
    }
    /// What the loss learns; counts are 0 until the first compute tells dim.
    std::vector<mio_tensor_info> tensors() const
    {
        std::vector<mio_tensor_info> list(mio_loss_tensor_count(pointer_));
        for (std::size_t i = 0; i < list.size(); i++) {
            list[i].struct_size = sizeof list[i];
            check(mio_loss_tensor(pointer_, i, &list[i]));
        }
        return list;
    }
    std::vector<double> tensor(const mio_tensor_info &info) const
    {
        std::vector<double> values(info.count);
        check(mio_loss_get_tensor(pointer_, info.name, values.size(), values.data()));
        return values;
    }
    void set_tensor(const std::string &tensor, const std::vector<double> &values)
    {
        check(mio_loss_set_tensor(pointer_, detail::text(tensor), values.size(), values.data()));
    }
    /// The gradient of a tensor that the last compute found.
    std::vector<double> gradient(const mio_tensor_info &info) const
    {
        std::vector<double> values(info.count);
        check(mio_loss_get_gradient(pointer_, info.name, values.size(), values.data()));
        return values;
    }

    /// How a step moves each row, in parts of 2 x pairs x dim values.
    displacements parts_of_step(std::size_t pairs, std::size_t dim, const double *z1, const double *z2, double rate = 1)
    {
        const std::vector<double> empty(2 * pairs * dim);
        displacements parts{empty, empty, empty};
        check(mio_analysis_displacements(pointer_, pairs, dim, z1, z2, rate, parts.attraction.data(),
                                         parts.repulsion.data(), parts.l2.data()));
        return parts;
    }
    mio_mutual_information mutual_information(std::size_t pairs, std::size_t dim, const double *z1, const double *z2)
    {
        mio_mutual_information found{};
        found.struct_size = sizeof found;
        check(mio_analysis_mutual_information(pointer_, pairs, dim, z1, z2, &found));
        return found;
    }
    /// The Hessian by the rows times a direction of 2 x pairs x dim values.
    std::vector<double> hessian_product(std::size_t pairs, std::size_t dim, const double *z1, const double *z2,
                                        const std::vector<double> &direction)
    {
        if (direction.size() != 2 * pairs * dim)
            throw std::invalid_argument("the direction must have 2 x pairs x dim values");
        std::vector<double> product(direction.size());
        check(mio_analysis_hessian_product(pointer_, pairs, dim, z1, z2, direction.data(), product.data()));
        return product;
    }
    spectrum hessian_spectrum(std::size_t pairs, std::size_t dim, const double *z1, const double *z2, std::size_t steps,
                              std::uint64_t probe = 0)
    {
        return spectrum::of(steps, [&](double *values, double *weights, std::size_t *count) {
            return mio_analysis_hessian_spectrum(pointer_, pairs, dim, z1, z2, steps, probe, values, weights, count);
        });
    }

private:
    friend class trainer;
    loss() = default;
    template <class Function, class Real>
    static mio_status call(void *user, std::size_t pairs, std::size_t dim, const Real *z1, const Real *z2, double *value,
                           Real *grad_z1, Real *grad_z2)
    {
        return detail::guarded(
            [&] { *value = (*static_cast<Function *>(user))(pairs, dim, z1, z2, grad_z1, grad_z2); });
    }

    std::shared_ptr<const void> function_; ///< of a custom loss
};

class dataset;

class encoder : public MIO_HPP_OBJECT(encoder) {
public:
    using object::object;
    static encoder load(const context &owner, const std::string &path)
    {
        mio_encoder *made;
        check(mio_encoder_load(owner.get(), detail::text(path), &made));
        return encoder(made);
    }
    void save(const std::string &path) const { check(mio_encoder_save(pointer_, detail::text(path))); }
    /// Measures and follows the fastest convolution algorithms for such batches; views 0: for infer and embed.
    void tune(std::size_t views, std::size_t count, double seconds)
    {
        check(mio_encoder_tune(pointer_, views, count, seconds));
    }
    void save_tuning(const std::string &path) const { check(mio_encoder_save_tuning(pointer_, detail::text(path))); }
    void load_tuning(const std::string &path) { check(mio_encoder_load_tuning(pointer_, detail::text(path))); }
    void clear_tuning() { check(mio_encoder_clear_tuning(pointer_)); }
    /// How such a batch is computed, one a convolution.
    std::vector<mio_convolution_info> convolutions(std::size_t views, std::size_t count) const
    {
        std::vector<mio_convolution_info> list(mio_encoder_convolution_count(pointer_));
        for (std::size_t i = 0; i < list.size(); i++) {
            list[i].struct_size = sizeof list[i];
            check(mio_encoder_convolution(pointer_, views, count, i, &list[i]));
        }
        return list;
    }
    std::size_t feature_dim() const { return dim(mio_encoder_feature_dim); }
    std::size_t projection_dim() const { return dim(mio_encoder_projection_dim); }
    /// Mean and deviation, one value a channel, in units of [0,1] pixels, that images are normalised with.
    std::pair<std::vector<double>, std::vector<double>> normalization() const
    {
        std::vector<double> mean(input_shape()[0]), deviation(mean.size());
        check(mio_encoder_get_normalization(pointer_, mean.size(), mean.data(), deviation.data()));
        return {std::move(mean), std::move(deviation)};
    }
    void set_normalization(const std::vector<double> &mean, const std::vector<double> &deviation)
    {
        if (mean.size() != deviation.size())
            throw std::invalid_argument("mean and deviation differ in number");
        check(mio_encoder_set_normalization(pointer_, mean.size(), mean.data(), deviation.data()));
    }
    /// {channels, height, width}
    std::array<std::size_t, 3> input_shape() const
    {
        std::array<std::size_t, 3> shape;
        check(mio_encoder_input_shape(pointer_, &shape[0], &shape[1], &shape[2]));
        return shape;
    }
    /// Features, count x feature_dim, of count byte images; row_stride 0 means packed rows.
    std::vector<float> embed(std::size_t count, std::size_t height, std::size_t width, std::size_t channels,
                             const std::uint8_t *images, std::size_t row_stride = 0) const
    {
        std::vector<float> features(count * feature_dim());
        check(mio_encoder_embed(pointer_, count, height, width, channels, row_stride, images, features.data()));
        return features;
    }
    /// The same into the caller's memory: for frames that come one by one.
    void embed(std::size_t count, std::size_t height, std::size_t width, std::size_t channels, const std::uint8_t *images,
               std::size_t row_stride, float *features) const
    {
        check(mio_encoder_embed(pointer_, count, height, width, channels, row_stride, images, features));
    }
    /// Features of every image of a dataset.
    std::vector<float> embed(const dataset &images) const;
    void forward(std::size_t views, std::size_t count, const float *images, float *features, float *projections)
    {
        check(mio_encoder_forward(pointer_, views, count, images, features, projections));
    }
    void backward(const float *grad_projections, const float *grad_features = nullptr)
    {
        check(mio_encoder_backward(pointer_, grad_projections, grad_features));
    }
    /// How many numbers are trained: the length of hessian_product's directions.
    std::size_t weight_count() const { return dim(mio_analysis_encoder_weights); }
    /// The training loss's Hessian by all weights times a direction; images: two views, as forward() takes them.
    std::vector<double> hessian_product(const loss &measure, std::size_t pairs, const float *images,
                                        const std::vector<double> &direction, double step = 0)
    {
        if (direction.size() != weight_count())
            throw std::invalid_argument("the direction must have weight_count() values");
        std::vector<double> product(direction.size());
        check(mio_analysis_encoder_hessian_product(pointer_, measure.get(), pairs, images, step, direction.data(),
                                                   product.data()));
        return product;
    }
    spectrum hessian_spectrum(const loss &measure, std::size_t pairs, const float *images, std::size_t steps,
                              std::uint64_t probe = 0, double step = 0)
    {
        return spectrum::of(steps, [&](double *values, double *weights, std::size_t *count) {
            return mio_analysis_encoder_hessian_spectrum(pointer_, measure.get(), pairs, images, step, steps, probe, values,
                                                         weights, count);
        });
    }
    std::vector<mio_tensor_info> tensors() const
    {
        std::vector<mio_tensor_info> list(mio_encoder_tensor_count(pointer_));
        for (std::size_t i = 0; i < list.size(); i++) {
            list[i].struct_size = sizeof list[i];
            check(mio_encoder_tensor(pointer_, i, &list[i]));
        }
        return list;
    }
    std::vector<float> tensor(const mio_tensor_info &info) const
    {
        std::vector<float> values(info.count);
        check(mio_encoder_get_tensor(pointer_, info.name, values.size(), values.data()));
        return values;
    }
    void set_tensor(const std::string &name, const std::vector<float> &values)
    {
        check(mio_encoder_set_tensor(pointer_, detail::text(name), values.size(), values.data()));
    }

private:
    std::size_t dim(mio_status (*query)(const mio_encoder *, std::size_t *)) const
    {
        std::size_t value;
        check(query(pointer_, &value));
        return value;
    }
};

/// Layers of a network; errors surface in finish().
class builder : public detail::handle<mio_builder, mio_builder_retain, mio_builder_release> {
public:
    builder(const context &owner, std::size_t channels, std::size_t height, std::size_t width)
    {
        check(mio_builder_create(owner.get(), channels, height, width, &pointer_));
    }
    builder &name(const std::string &next)
    {
        mio_builder_name(pointer_, detail::text(next));
        return *this;
    }
    mio_node input() { return mio_builder_input(pointer_); }
    mio_node conv2d(mio_node x, std::size_t out_channels, std::size_t kernel, std::size_t stride, std::size_t padding)
    {
        return mio_builder_conv2d(pointer_, x, out_channels, kernel, stride, padding);
    }
    mio_node batch_norm(mio_node x) { return mio_builder_batch_norm(pointer_, x); }
    mio_node batch_norm_plain(mio_node x) { return mio_builder_batch_norm_plain(pointer_, x); }
    mio_node relu(mio_node x) { return mio_builder_relu(pointer_, x); }
    mio_node max_pool(mio_node x, std::size_t kernel, std::size_t stride, std::size_t padding)
    {
        return mio_builder_max_pool(pointer_, x, kernel, stride, padding);
    }
    mio_node global_average_pool(mio_node x) { return mio_builder_global_average_pool(pointer_, x); }
    mio_node add(mio_node left, mio_node right) { return mio_builder_add(pointer_, left, right); }
    mio_node linear(mio_node x, std::size_t out_features, bool bias)
    {
        return mio_builder_linear(pointer_, x, out_features, bias);
    }
    mio_node resnet(mio_node x, int depth, std::size_t base_width, mio_stem stem)
    {
        return mio_builder_resnet(pointer_, x, depth, base_width, stem);
    }
    mio_node projector(mio_node x, std::size_t layers, std::size_t hidden, std::size_t out)
    {
        return mio_builder_projector(pointer_, x, layers, hidden, out);
    }
    mio_node predictor(mio_node x, std::size_t layers, std::size_t hidden, std::size_t out)
    {
        return mio_builder_predictor(pointer_, x, layers, hidden, out);
    }
    mio_node mlp(mio_node x, std::size_t layers, std::size_t hidden, std::size_t out,
                 mio_norm hidden_norm = MIO_NORM_AFFINE, mio_norm last_norm = MIO_NORM_AFFINE)
    {
        return mio_builder_mlp(pointer_, x, layers, hidden, out, hidden_norm, last_norm);
    }
    encoder finish(mio_node features, mio_node projections = -1, mio_node predictions = -1)
    {
        mio_encoder *made;
        check(mio_builder_finish_with_predictions(pointer_, features, projections, predictions, &made));
        return encoder(made);
    }
};

class dataset : public detail::handle<mio_dataset, mio_dataset_retain, mio_dataset_release> {
public:
    using handle::handle;
    dataset(const context &owner, const std::string &format, const std::string &path, const std::string &split = "")
    {
        check(mio_dataset_open(owner.get(), detail::text(format), detail::text(path), split.empty() ? nullptr : detail::text(split),
                               &pointer_));
    }
    /// With options, whose struct_size is set here.
    dataset(const context &owner, const std::string &format, const std::string &path, const std::string &split,
            mio_dataset_options options)
    {
        options.struct_size = sizeof options;
        check(mio_dataset_open_with(owner.get(), detail::text(format), detail::text(path), split.empty() ? nullptr : detail::text(split),
                                    &options, &pointer_));
    }
    /// Borrows the pixels, which must outlive the dataset; labels may be null.
    static dataset from_memory(const context &owner, std::size_t count, std::size_t height, std::size_t width,
                               std::size_t channels, const std::uint8_t *images, const std::int32_t *labels = nullptr,
                               std::size_t row_stride = 0)
    {
        mio_dataset *made;
        check(mio_dataset_from_memory(owner.get(), count, height, width, channels, row_stride, images, labels, &made));
        return dataset(made);
    }
    /// The images at these indices, in this order; from_memory's pixels must outlive it too.
    dataset subset(const std::vector<std::size_t> &indices) const
    {
        mio_dataset *made;
        check(mio_dataset_subset(pointer_, indices.size(), indices.data(), &made));
        return dataset(made);
    }
    /// Two datasets, the first with this fraction of every class.
    std::pair<dataset, dataset> split(double fraction, std::uint64_t seed = 0) const
    {
        mio_dataset *first, *second;
        check(mio_dataset_split(pointer_, fraction, seed, &first, &second));
        return {dataset(first), dataset(second)};
    }
    /// {mean, deviation} of each channel, of pixels in [0, 1].
    std::pair<std::vector<double>, std::vector<double>> statistics() const
    {
        std::vector<double> mean(channels()), deviation(channels());
        check(mio_dataset_statistics(pointer_, channels(), mean.data(), deviation.data()));
        return {mean, deviation};
    }
    std::size_t size() const { return mio_dataset_count(pointer_); }
    std::size_t channels() const { return mio_dataset_channels(pointer_); }
    std::size_t classes() const { return mio_dataset_class_count(pointer_); }
    std::int32_t label(std::size_t index) const
    {
        std::int32_t value;
        check(mio_dataset_label(pointer_, index, &value));
        return value;
    }
    /// Empty where the dataset has none.
    std::string class_name(std::size_t label) const
    {
        const char *const name = mio_dataset_class_name(pointer_, label);
        return name ? name : "";
    }
    /// The file that an image of a folder or tar came from.
    std::string image_name(std::size_t index) const
    {
        const char *name;
        check(mio_dataset_image_name(pointer_, index, &name));
        return name;
    }
};

inline std::vector<float> encoder::embed(const dataset &images) const
{
    std::vector<float> features(images.size() * feature_dim());
    check(mio_evaluate_embed(pointer_, images.get(), features.data()));
    return features;
}

/// Random operations from an image to a view.
class augment : public MIO_HPP_OBJECT(augment) {
public:
    augment(const context &owner, const std::string &preset, std::size_t height, std::size_t width, std::size_t channels)
    {
        check(mio_augment_create(owner.get(), detail::text(preset), height, width, channels, &pointer_));
    }
    void set_normalization(const std::vector<double> &mean, const std::vector<double> &deviation)
    {
        if (mean.size() != deviation.size())
            throw std::invalid_argument("mean and deviation differ in number");
        check(mio_augment_set_normalization(pointer_, mean.size(), mean.data(), deviation.data()));
    }
};

/// Batches of views, read ahead.
class loader : public MIO_HPP_OBJECT(loader) {
public:
    loader(const dataset &images, const augment &views) { check(mio_loader_create(images.get(), views.get(), &pointer_)); }
    std::uint64_t steps_per_epoch() const
    {
        std::uint64_t steps;
        check(mio_loader_steps_per_epoch(pointer_, &steps));
        return steps;
    }
    void seek(std::uint64_t epoch, std::uint64_t step) { check(mio_loader_seek(pointer_, epoch, step)); }
    /// Borrowed from the loader until the next call.
    mio_batch next()
    {
        mio_batch batch{};
        batch.struct_size = sizeof batch;
        check(mio_loader_next(pointer_, &batch));
        return batch;
    }
};

class optimizer : public MIO_HPP_OBJECT(optimizer) {
public:
    optimizer(const context &owner, const std::string &name)
    {
        check(mio_optimizer_create(owner.get(), detail::text(name), &pointer_));
    }
    void add(const encoder &steps) { check(mio_optimizer_add_encoder(pointer_, steps.get())); }
    void step() { check(mio_optimizer_step(pointer_)); }
};

class schedule : public MIO_HPP_OBJECT(schedule) {
public:
    schedule(const context &owner, const std::string &name)
    {
        check(mio_schedule_create(owner.get(), detail::text(name), &pointer_));
    }
    double at(std::uint64_t step, std::uint64_t steps_per_epoch) const
    {
        double rate;
        check(mio_schedule_at(pointer_, step, steps_per_epoch, &rate));
        return rate;
    }
};

class trainer : public MIO_HPP_OBJECT(trainer) {
public:
    using object::object;
    /// From parts of one's own; a recipe builds them all.
    trainer(const mio::encoder &learner, const loss &objective, const optimizer &steps, const schedule &rates,
            const loader &batches)
    {
        check(mio_trainer_create(learner.get(), objective.get(), steps.get(), rates.get(), batches.get(), &pointer_));
        function_ = objective.function_;
    }
    mio_step_report step()
    {
        mio_step_report report{};
        report.struct_size = sizeof report;
        check(mio_trainer_step(pointer_, &report));
        return report;
    }
    /// Steps to the end; the callback returns false to stop. An exception from it ends the run and comes out here.
    void run(const std::function<bool(const mio_step_report &)> &callback)
    {
        struct state {
            const std::function<bool(const mio_step_report &)> &function;
        } mine{callback};
        check(mio_trainer_run(
            pointer_,
            [](void *user, const mio_step_report *report) -> std::int32_t {
                bool goes_on = false;
                return detail::guarded([&] { goes_on = static_cast<state *>(user)->function(*report); }) || !goes_on;
            },
            &mine));
    }
    /// encoder::tune for the batches of this trainer's steps; to be called before the first.
    void tune(double seconds) { check(mio_trainer_tune(pointer_, seconds)); }
    void cancel() { mio_trainer_cancel(pointer_); }
    mio::encoder encoder() const { return mio::encoder(mio_encoder_retain(mio_trainer_encoder(pointer_))); }
    std::uint64_t steps_done() const { return mio_trainer_steps_done(pointer_); }
    void save(const std::string &path) const { check(mio_trainer_save(pointer_, detail::text(path))); }
    void restore(const std::string &path) { check(mio_trainer_restore(pointer_, detail::text(path))); }

private:
    std::shared_ptr<const void> function_; ///< of a custom loss
};

class recipe : public MIO_HPP_OBJECT(recipe) {
public:
    recipe(const context &owner, const std::string &name)
    {
        check(mio_recipe_create(owner.get(), detail::text(name), &pointer_));
    }
    void choose(const std::string &part, const std::string &name)
    {
        check(mio_recipe_choose(pointer_, detail::text(part), detail::text(name)));
    }
    trainer build(const dataset &images)
    {
        mio_trainer *made;
        check(mio_recipe_build(pointer_, images.get(), &made));
        return trainer(made);
    }
};

class knn : public MIO_HPP_OBJECT(knn) {
public:
    explicit knn(const context &owner) { check(mio_knn_create(owner.get(), &pointer_)); }
    void fit(std::size_t count, std::size_t dim, const float *features, const std::int32_t *labels)
    {
        check(mio_knn_fit(pointer_, count, dim, features, labels));
    }
    std::vector<std::int32_t> predict(std::size_t count, std::size_t dim, const float *queries)
    {
        std::vector<std::int32_t> classes(count);
        check(mio_knn_predict(pointer_, count, dim, queries, classes.data()));
        return classes;
    }
    struct neighbours {
        std::vector<std::size_t> indices; ///< count x how_many, the best first
        std::vector<float> similarities;
    };
    neighbours search(std::size_t count, std::size_t dim, const float *queries, std::size_t how_many)
    {
        neighbours found{std::vector<std::size_t>(count * how_many), std::vector<float>(count * how_many)};
        check(mio_knn_search(pointer_, count, dim, queries, how_many, found.indices.data(), found.similarities.data()));
        return found;
    }
};

/// A linear classifier on frozen features; solver "exact" or "sgd".
class probe : public MIO_HPP_OBJECT(probe) {
public:
    explicit probe(const context &owner, const std::string &solver = "exact")
    {
        check(mio_probe_create(owner.get(), detail::text(solver), &pointer_));
    }
    void fit(std::size_t count, std::size_t dim, const float *features, const std::int32_t *labels, std::size_t classes)
    {
        check(mio_probe_fit(pointer_, count, dim, features, labels, classes));
    }
    /// With a set that chooses the epoch ("sgd") or the penalty ("exact", "penalty" 0).
    void fit(std::size_t count, std::size_t dim, const float *features, const std::int32_t *labels, std::size_t classes,
             std::size_t validation_count, const float *validation_features, const std::int32_t *validation_labels)
    {
        check(mio_probe_fit_validated(pointer_, count, dim, features, labels, classes, validation_count,
                                      validation_features, validation_labels));
    }
    /// Classes; logits, count x classes, may be null.
    std::vector<std::int32_t> predict(std::size_t count, std::size_t dim, const float *features, float *logits = nullptr)
    {
        std::vector<std::int32_t> classes(count);
        check(mio_probe_predict(pointer_, count, dim, features, classes.data(), logits));
        return classes;
    }
};

/// Trains an encoder and a linear classifier together on labels; it changes the encoder.
class finetune : public MIO_HPP_OBJECT(finetune) {
public:
    explicit finetune(const encoder &learner) { check(mio_finetune_create(learner.get(), &pointer_)); }
    /// The epoch with the best loss on validation is kept; without it (a dataset of no handle) the last.
    void run(const dataset &train, const augment &views, const dataset &validation = dataset())
    {
        check(mio_finetune_run(pointer_, train.get(), validation.get(), views.get()));
    }
    std::vector<std::int32_t> predict(const dataset &images)
    {
        std::vector<std::int32_t> classes(images.size());
        check(mio_finetune_predict(pointer_, images.get(), classes.data()));
        return classes;
    }
};

#undef MIO_HPP_OBJECT

} // namespace mio

#endif
