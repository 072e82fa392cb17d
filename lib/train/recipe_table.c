#include "train/recipe.h"

#include "kernels/conv.h"
#include "nn/encoder.h"
#include "train/momentum.h"

#include <mio/encoder.h>

static const char *const stems[] = {"imagenet", "small", "small_unpadded", NULL};
static const char *const norms[] = {"none", "plain", "affine", NULL};

const mio__parameter mio__recipe_encoder_table[MIO__RECIPE_ENCODER_PARAMETERS] = {
    [MIO__RECIPE_DEPTH] = {"depth", MIO_PARAMETER_INTEGER, 18, 18, 50, 0, 0, NULL, "of the ResNet: 18, 34 or 50",
                           "layers"},
    [MIO__RECIPE_BASE_WIDTH] = {"base_width", MIO_PARAMETER_INTEGER, 64, 1, 4096, 0, 0, NULL,
                                "channels of the first stage; torchvision's have 64", "channels"},
    [MIO__RECIPE_STEM] = {"stem", MIO_PARAMETER_CHOICE, MIO_STEM_SMALL, 0, 0, 0, 0, stems, "first layers", ""},
    [MIO__RECIPE_IMAGENET_STEM_FROM] = {"imagenet_stem_from", MIO_PARAMETER_INTEGER, 64, 0, 1e6, 0, 0, NULL,
                                        "views of at least this size take the imagenet stem instead; 0: none",
                                        "pixels"},
    [MIO__RECIPE_INITIALIZATION] =
        {"initialization", MIO_PARAMETER_CHOICE, 0, 0, 0, 0, 0, mio__initialization_names,
         "first weights of convolutions: Kaiming normal over the fan-out, or PyTorch's default: "
         "smaller, so that a learning rate counts for more under batch norm",
         ""},
    [MIO__RECIPE_ALGORITHM] = {"algorithm", MIO_PARAMETER_CHOICE, MIO__CONV_FAST, 0, 0, 0, 0, mio__algorithm_names,
                               "how 3x3 convolutions are computed: directly, or by Winograd's smaller or larger tiles",
                               ""},
    [MIO__RECIPE_PRECISION] =
        {"precision", MIO_PARAMETER_CHOICE, MIO__FP32, 0, 0, 0, 0, mio__precision_names,
         "what activations and the factors of products are stored in; weights, sums and statistics "
         "are fp32. bf16 needs a CPU with AVX-512 BF16",
         ""},
    [MIO__RECIPE_HEIGHT] = {"height", MIO_PARAMETER_INTEGER, 0, 0, 16384, 0, 0, NULL, "of the views; 0: the dataset's",
                            "pixels"},
    [MIO__RECIPE_WIDTH] = {"width", MIO_PARAMETER_INTEGER, 0, 0, 16384, 0, 0, NULL,
                           "of the views; 0: as height, or the dataset's", "pixels"},
};

const mio__parameter mio__recipe_projector_table[MIO__RECIPE_PROJECTOR_PARAMETERS] = {
    [MIO__RECIPE_LAYERS] = {"layers", MIO_PARAMETER_INTEGER, 2, 1, 16, 0, 0, NULL,
                            "linear layers, a ReLU between each two", "layers"},
    [MIO__RECIPE_HIDDEN] = {"hidden", MIO_PARAMETER_INTEGER, 2048, 1, 1048576, 0, 0, NULL,
                            "width of all layers but the last", "channels"},
    [MIO__RECIPE_OUT] = {"out", MIO_PARAMETER_INTEGER, 128, 1, 1048576, 0, 0, NULL, "width of the projections",
                         "channels"},
    [MIO__RECIPE_HIDDEN_NORM] = {"hidden_norm", MIO_PARAMETER_CHOICE, MIO_NORM_AFFINE, 0, 0, 0, 0, norms,
                                 "what follows every layer but the last: nothing (then it has a bias), or batch norm "
                                 "without or with weight and bias of its own",
                                 ""},
    [MIO__RECIPE_LAST_NORM] = {"last_norm", MIO_PARAMETER_CHOICE, MIO_NORM_AFFINE, 0, 0, 0, 0, norms,
                               "the same of the last layer", ""},
};

const mio__parameter mio__recipe_predictor_table[MIO__RECIPE_PREDICTOR_PARAMETERS] = {
    [MIO__RECIPE_PREDICTOR_LAYERS] = {"layers", MIO_PARAMETER_INTEGER, 0, 0, 16, 0, 0, NULL,
                                      "linear layers, batch norm and ReLU after all but the last; 0: none", "layers"},
    [MIO__RECIPE_PREDICTOR_HIDDEN] = {"hidden", MIO_PARAMETER_INTEGER, 512, 1, 1048576, 0, 0, NULL,
                                      "width of all layers but the last, which has the projections'", "channels"},
};

/* Where "schedule.total" is not set it follows the length of the run. */

static const mio__recipe_setting paper[] = {
    {"encoder.depth", 50},
    {"encoder.base_width", 64},
    {"encoder.stem", MIO_STEM_SMALL_UNPADDED},
    {"encoder.imagenet_stem_from", 64},
    {"projector.layers", 2},
    {"projector.hidden", 2048},
    {"projector.out", 128},
    {"loss.positive_temperature", 0.5},
    {"loss.negative_temperature", 0.5},
    {"loss.l2_weight", 1},
    {"optimizer.momentum", 0.9},
    {"optimizer.trust_coefficient", 0.001},
    {"optimizer.weight_decay", 1e-6},
    {"optimizer.compat", 1},
    {"schedule.learning_rate", 1.5},
    {"schedule.start", 1e-4},
    {"schedule.minimum", 1e-4},
    {"schedule.warmup", 10},
    {"schedule.warmup_includes", 2},
    {"schedule.total", 1000},
    {"schedule.unit", 1},
    {"loader.batch_size", 128},
    {"loader.drop_last", 1},
    {"trainer.epochs", 250},
    {"trainer.join_views", 0},
    {NULL, 0},
};

static const mio__recipe_setting reference[] = {
    {"encoder.depth", 18},
    {"encoder.base_width", 16},
    {"encoder.stem", MIO_STEM_SMALL},
    {"encoder.initialization", 1},
    {"projector.layers", 2},
    {"projector.hidden", 2048},
    {"projector.out", 128},
    {"optimizer.momentum", 0.9},
    {"optimizer.nesterov", 1},
    {"optimizer.weight_decay", 5e-4},
    {"optimizer.exclude_vectors", 0},
    {"schedule.learning_rate", 0.2},
    {"schedule.start", 0},
    {"schedule.minimum", 0},
    {"schedule.warmup", 100},
    {"schedule.warmup_includes", 1},
    {"schedule.unit", 0},
    {"loader.batch_size", 256},
    {"loader.drop_last", 1},
    {"trainer.epochs", 4},
    {"trainer.join_views", 0},
    {NULL, 0},
};

static const mio__recipe_setting small[] = {
    {"encoder.depth", 18},
    {"encoder.base_width", 16},
    {"encoder.stem", MIO_STEM_SMALL},
    /* Views of 24x24 see CIFAR-10 nearly twice as often in the same time as those of 32x32. */
    {"encoder.height", 24},
    {"projector.layers", 2},
    {"projector.hidden", 512},
    {"projector.out", 128},
    {"optimizer.momentum", 0.9},
    {"optimizer.nesterov", 1},
    {"optimizer.weight_decay", 5e-4},
    {"schedule.learning_rate", 0.6},
    {"schedule.start", 0},
    {"schedule.minimum", 0},
    {"schedule.warmup", 100},
    {"schedule.warmup_includes", 1},
    {"schedule.unit", 0},
    {"augment.antialias", 1},
    {"loader.batch_size", 128},
    {"trainer.epochs", 10},
    {NULL, 0},
};

/* What each recipe does otherwise than `small`. Learning rates: the better of two or so that were tried on CIFAR-10,
   two epochs, one seed; nnclr and sogclr were tried at the base's alone. */

/* Of 0.05 to 0.5, the best for CIFAR-10 in two epochs. The paper's is 0.5. */
#define SHARP {"loss.negative_temperature", 0.15}

static const mio__recipe_setting sharp[] = {
    SHARP,
    {NULL, 0},
};

static const mio__recipe_setting tiny[] = {
    {"encoder.height", 20}, /* half the pixels of 28x28: twice the images in the same time */
    {"projector.hidden", 256},
    {"projector.out", 64},
    {"schedule.warmup", 50},
    /* Brightness gives grey images away: without strong jitter the views are told apart by it alone. */
    {"augment.brightness", 0.8},
    {"augment.contrast", 0.8},
    {"augment.solarize_probability", 0.2},
    {"augment.crop_scale_min", 0.3},
    {"augment.crop_ratio_min", 0.85},
    {"augment.crop_ratio_max", 1.18},
    {"trainer.epochs", 3},
    SHARP,
    {NULL, 0},
};

static const mio__recipe_setting barlow_twins[] = {
    {"projector.layers", 3},
    {"projector.hidden", 1024},
    {"projector.out", 1024},
    {"projector.last_norm", MIO_NORM_NONE},
    {"schedule.learning_rate", 0.02},
    {NULL, 0},
};

static const mio__recipe_setting byol[] = {
    {"projector.last_norm", MIO_NORM_NONE},
    {"predictor.layers", 2},
    {"predictor.hidden", 512},
    {"trainer.momentum_encoder", 1},
    {"trainer.momentum", 0.97}, /* the authors' for runs of 40 epochs */
    {"trainer.momentum_schedule", MIO__MOMENTUM_COSINE},
    {"schedule.learning_rate", 0.15},
    {NULL, 0},
};

static const mio__recipe_setting moco_v2[] = {
    {"projector.last_norm", MIO_NORM_PLAIN}, /* the authors' head has no norms: a small network then starts collapsed */
    {"loss.temperature", 0.2},
    {"loss.queue_size", 4096},
    {"trainer.momentum_encoder", 1},
    {"trainer.momentum", 0.99},
    {"schedule.learning_rate", 0.15},
    {NULL, 0},
};

static const mio__recipe_setting nnclr[] = {
    {"projector.layers", 3},
    {"predictor.layers", 2},
    {"predictor.hidden", 512},
    {"loss.temperature", 0.1},
    {"loss.queue_size", 4096},
    {NULL, 0},
};

static const mio__recipe_setting simclr[] = {
    {"loss.temperature", 0.5},
    {NULL, 0},
};

static const mio__recipe_setting simsiam[] = {
    {"projector.out", 512},
    {"projector.last_norm", MIO_NORM_PLAIN},
    {"predictor.layers", 2},
    {"predictor.hidden", 128}, /* a quarter: the bottleneck */
    {"schedule.learning_rate", 0.2},
    {NULL, 0},
};

static const mio__recipe_setting sogclr[] = {
    {"loss.temperature", 0.1},
    {"loss.gamma", 0.9},
    {NULL, 0},
};

static const mio__recipe_setting supcon[] = {
    {"loss.temperature", 0.1}, /* as in the authors' command for CIFAR; their head has no norms, as MoCo's */
    {"loss.base_temperature", 0.07},
    {"trainer.labels", 1},
    {NULL, 0},
};

static const mio__recipe_setting vicreg[] = {
    {"projector.layers", 3},
    {"projector.hidden", 1024},
    {"projector.out", 1024},
    {"projector.last_norm", MIO_NORM_NONE},
    {"schedule.learning_rate", 0.1},
    {NULL, 0},
};

static const mio__recipe_kind kinds[] = {
    {"barlow_twins",
     "Barlow Twins (arXiv 2103.03230) at the size of mio-small: projector of three wide layers, no batch "
     "norm after the last",
     "barlow_twins", "sgd", "cosine", "mio-small", small, barlow_twins},
    {"byol", "BYOL (arXiv 2006.07733) at the size of mio-small: predictor, momentum encoder on a cosine to 1", "byol",
     "sgd", "cosine", "mio-small", small, byol},
    {"mio-paper", "the MIO authors' own: ResNet-50, LARS, weak crops, batch 128, 250 epochs (arXiv 2111.12664)", "mio",
     "lars", "cosine", "mio-paper", paper, NULL},
    {"mio-reference", "the runs that libmio is measured against: ResNet-18 of width 16, SGD, strong crops, 4 epochs",
     "mio", "sgd", "cosine", "mio-reference", reference, NULL},
    {"mio-small",
     "for small colour images on a few cores: ResNet-18 of width 16 on 24x24 views (for larger images set "
     "encoder.height), SGD, strong crops, 10 epochs",
     "mio", "sgd", "cosine", "mio-small", small, sharp},
    {"mio-tiny",
     "for a first try on small grey images: ResNet-18 of width 16 on 20x20 views, SGD, minutes on two cores", "mio",
     "sgd", "cosine", "grey", small, tiny},
    {"moco_v2",
     "MoCo v2 (arXiv 2003.04297) at the size of mio-small: momentum encoder, queue of 4096, batch norms in the "
     "head as in MoCo v3",
     "moco", "sgd", "cosine", "mio-small", small, moco_v2},
    {"nnclr", "NNCLR (arXiv 2104.14548) at the size of mio-small: three-layer projector, predictor, queue of 4096",
     "nnclr", "sgd", "cosine", "mio-small", small, nnclr},
    {"simclr", "SimCLR (arXiv 2002.05709) at the size of mio-small: NT-Xent at temperature 0.5, its best for CIFAR-10",
     "nt_xent", "sgd", "cosine", "mio-small", small, simclr},
    {"simsiam",
     "SimSiam (arXiv 2011.10566) at the size of mio-small: predictor with a bottleneck, last norm plain",
     "simsiam", "sgd", "cosine", "mio-small", small, simsiam},
    {"sogclr", "SogCLR (arXiv 2202.12387) at the size of mio-small: moving averages for every image, for small batches",
     "sogclr", "sgd", "cosine", "mio-small", small, sogclr},
    {"supcon", "SupCon (arXiv 2004.11362) at the size of mio-small: learns from labels; batch norms in the head",
     "supcon", "sgd", "cosine", "mio-small", small, supcon},
    {"vicreg",
     "VICReg (arXiv 2105.04906) at the size of mio-small: expander of three wide layers, no batch norm "
     "after the last",
     "vicreg", "sgd", "cosine", "mio-small", small, vicreg},
};

const mio__recipe_kind *mio__recipe_kind_at(size_t index)
{
    return index < sizeof kinds / sizeof *kinds ? &kinds[index] : NULL;
}
