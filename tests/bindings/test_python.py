"""The Python binding end to end, against the library named by $MIO_LIBRARY."""

import copy
import gc
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import unittest

try:
    import numpy
except ImportError:
    print("numpy is not installed: skipped")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "bindings", "python"))
import mio


def stripes(count, size):
    """count x size x size x 1 bytes: even images have horizontal stripes, odd ones vertical."""
    y, x = numpy.mgrid[:size, :size]
    images = [((x if i % 2 else y) + i // 2) % 4 // 2 * 180 + 20 + i % 30 for i in range(count)]
    return numpy.array(images, numpy.uint8)[..., None], numpy.arange(count, dtype=numpy.int32) % 2


def loss_reference(z1, z2, tp=0.5, tn=0.5, weight=1.0):
    """The mio loss from its definition, in double."""
    z = numpy.concatenate([z1, z2]).astype(float)
    u = z / numpy.linalg.norm(z, axis=1, keepdims=True)
    s, pairs = u @ u.T, len(z1)
    partner = (numpy.arange(2 * pairs) + pairs) % (2 * pairs)
    positive = s[numpy.arange(2 * pairs), partner]
    negative = numpy.ones_like(s, bool)
    negative[numpy.arange(2 * pairs), partner] = False
    numpy.fill_diagonal(negative, False)
    softplus = lambda v: numpy.logaddexp(0, v)
    return (softplus(-positive / tp).mean() + softplus(s[negative] / tn).mean()
            + weight * ((u[:pairs] - u[pairs:]) ** 2).mean())


class TestContext(unittest.TestCase):
    def test_parameters(self):
        context = mio.Context(threads=2, seed=7)
        self.assertEqual(context.get("threads"), 2)
        self.assertEqual([row["name"] for row in context.parameters()], ["threads", "seed"])
        self.assertIn(context.target, ("generic", "avx2", "avx512"))
        self.assertEqual(mio.version(), (0, 1, 0))

    def test_arguments(self):
        """What C would misread is refused on its way in."""
        context = mio.Context()
        for wrong in (lambda: mio.Loss(mio.Loss(context, "mio"), "mio"), lambda: mio.Knn(None),
                      lambda: mio.Recipe(context, "mio-tiny").build(context), mio.Encoder):
            with self.assertRaisesRegex(TypeError, "mio"):
                wrong()
        builder = mio.Builder(context, 3, 8, 8)
        for number in (2**64 + 8, -1):
            with self.assertRaisesRegex(ValueError, "is not in"):
                builder.conv2d(builder.input(), number, 3)
        with self.assertRaises(TypeError):
            builder.conv2d(builder.input(), 8.0, 3)
        for named in (lambda: mio.Loss(context, "mio\0x"), lambda: mio.Encoder.load(context, "a\0b")):
            with self.assertRaisesRegex(ValueError, "zero byte"):
                named()
        with self.assertRaisesRegex(KeyError, "there is no tensor 'nope'; there are log_scale, bias"):
            mio.Loss(context, "siglip").tensor("nope")
        row = mio.Loss(context, "mio").parameters()[0]
        self.assertEqual((row["kind"], row["minimum"], row["minimum_exclusive"]), ("real", 0, True))

    def test_threads(self):
        """Calls on one object from several threads wait for each other."""
        loss, found = mio.Loss(mio.Context(), "mio"), {}
        views = {count: numpy.random.default_rng(count).standard_normal((2, count, 9)) for count in (5, 33, 64, 130)}

        def work(count):
            found[count] = [loss.compute(*views[count], gradients=False) for _ in range(30)]

        threads = [threading.Thread(target=work, args=(count,)) for count in views]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for count, values in found.items():
            numpy.testing.assert_allclose(values, loss_reference(*views[count]), rtol=1e-12)

    def test_errors(self):
        with self.assertRaisesRegex(mio.Error, "thread") as caught:
            mio.Context(threds=2)
        self.assertEqual(caught.exception.status, "argument")
        copied = pickle.loads(pickle.dumps(caught.exception))  # as process pools do
        self.assertEqual((str(copied), copied.status), (str(caught.exception), "argument"))


class TestLoss(unittest.TestCase):
    def setUp(self):
        self.context = mio.Context()
        generator = numpy.random.default_rng(1)
        self.z1, self.z2 = generator.standard_normal((2, 10, 6))

    def test_value(self):
        loss = mio.Loss(self.context, "mio", positive_temperature=0.3, negative_temperature=0.7)
        value = loss.compute(self.z1, self.z2, gradients=False)
        self.assertAlmostEqual(value, loss_reference(self.z1, self.z2, 0.3, 0.7), places=12)

    def test_gradient(self):
        loss = mio.Loss(self.context, "mio")
        _, grad_z1, grad_z2 = loss.compute(self.z1, self.z2)
        nudge = numpy.zeros_like(self.z2)
        nudge[3, 2] = 1e-6
        slope = (loss.compute(self.z1, self.z2 + nudge, False) - loss.compute(self.z1, self.z2 - nudge, False)) / 2e-6
        self.assertAlmostEqual(slope, grad_z2[3, 2], places=8)
        self.assertLess(abs((grad_z1 * self.z1).sum(1)).max(), 1e-14)

    def test_float(self):
        loss = mio.Loss(self.context, "mio")
        double, grad, _ = loss.compute(self.z1, self.z2)
        single, grad32, _ = loss.compute(self.z1.astype(numpy.float32), self.z2.astype(numpy.float32))
        self.assertEqual(grad32.dtype, numpy.float32)
        self.assertAlmostEqual(single, double, places=5)
        self.assertLess(numpy.linalg.norm(grad - grad32), 1e-5 * numpy.linalg.norm(grad))

    def test_refusals(self):
        loss = mio.Loss(self.context, "mio")
        with self.assertRaisesRegex(ValueError, "alike"):
            loss.compute(self.z1, self.z2[:5])
        with self.assertRaises(mio.Error):
            loss.compute(self.z1[:1], self.z2[:1])
        self.z1[4, 1] = numpy.nan
        with self.assertRaisesRegex(mio.Error, "4"):
            loss.compute(self.z1, self.z2)
        with self.assertRaisesRegex(mio.Error, "mio"):
            mio.Loss(self.context, "nothing")

    def test_names(self):
        self.assertIn("mio", mio.loss_names())
        self.assertEqual(mio.Loss(self.context, "dcl").name, "dcl")

    def test_custom(self):
        asked = []

        def half_square(z1, z2):
            asked.append(z1.dtype)
            if z1[0, 0] == 7:
                raise KeyError("mine")
            return 0.5 * ((z1 - z2) ** 2).sum(), z1 - z2, (z2 - z1).tolist()

        loss = mio.Loss.custom(self.context, "half_square", half_square)
        value, grad_z1, grad_z2 = loss.compute(self.z1, self.z2)
        self.assertAlmostEqual(value, 0.5 * ((self.z1 - self.z2) ** 2).sum(), places=12)
        numpy.testing.assert_array_equal(grad_z1, -grad_z2)
        self.assertEqual((loss.name, grad_z1[2, 3]), ("half_square", self.z1[2, 3] - self.z2[2, 3]))
        self.assertAlmostEqual(loss.compute(*numpy.float32([self.z1, self.z2]), False), value, places=4)
        self.assertEqual(asked, [numpy.float64, numpy.float32])
        with self.assertRaises(KeyError):
            loss.compute(self.z1 * 0 + 7, self.z2)
        narrow = mio.Loss.custom(self.context, "narrow", lambda z1, z2: (1.0, z1[:1], z2))
        with self.assertRaisesRegex(ValueError, "shape"):
            narrow.compute(self.z1, self.z2)
        with self.assertRaises(mio.Error):  # not the exception of the call before
            loss.set(temperature=1)

    def test_labels_and_indices(self):
        loss, labels = mio.Loss(self.context, "supcon"), numpy.arange(10) % 3
        plain = loss.compute(self.z1, self.z2, False)
        self.assertNotEqual(loss.set_batch(labels).compute(self.z1, self.z2, False), plain)
        self.assertEqual(loss.set_batch().compute(self.z1, self.z2, False), plain)
        sogclr = mio.Loss(self.context, "sogclr")
        with self.assertRaisesRegex(mio.Error, "indices"):
            sogclr.compute(self.z1, self.z2)
        sogclr.set_batch(indices=numpy.arange(10) * 7).compute(self.z1, self.z2)
        with self.assertRaisesRegex(ValueError, "labels"):
            loss.set_batch(labels, numpy.arange(3))

    def test_targets_and_queue(self):
        loss, t = mio.Loss(self.context, "simsiam"), numpy.roll(self.z1, 1, 0)
        unit = [z / numpy.linalg.norm(z, axis=1, keepdims=True) for z in (self.z1, self.z2, t)]
        value = loss.set_targets(t, t).compute(self.z1, self.z2, False)
        self.assertAlmostEqual(value, -0.5 * ((unit[0] + unit[1]) * unit[2]).sum(1).mean(), places=12)
        self.assertNotAlmostEqual(loss.set_targets().compute(self.z1, self.z2, False), value)
        moco = mio.Loss(self.context, "moco", temperature=1).set_queue(t)
        self.assertEqual(moco.get("queue_size"), 10)
        logits = numpy.concatenate([(unit[0] * unit[1]).sum(1, keepdims=True), unit[0] @ unit[2].T], 1)
        expected = (numpy.log(numpy.exp(logits).sum(1)) - logits[:, 0]).mean()
        self.assertAlmostEqual(moco.compute(self.z1, self.z2, False), expected, places=12)
        with self.assertRaisesRegex(mio.Error, "queue"):
            loss.set_queue(t)

    def test_tensors(self):
        loss = mio.Loss(self.context, "siglip")
        self.assertEqual(loss.tensors(), {"log_scale": (), "bias": ()})
        loss.compute(self.z1, self.z2)
        slope = loss.gradient("bias")
        values = []
        for bias in (-10 + 1e-5, -10 - 1e-5):
            loss.set_tensor("bias", bias)
            self.assertEqual(loss.tensor("bias"), bias)
            values.append(loss.compute(self.z1, self.z2, False))
        self.assertAlmostEqual((values[0] - values[1]) / 2e-5, float(slope), places=8)
        prototype = mio.Loss(self.context, "prototype", classes=4).set_batch(numpy.arange(10) % 4)
        prototype.compute(self.z1, self.z2)
        self.assertEqual(prototype.tensors(), {"prototypes": (4, 6)})
        self.assertEqual(prototype.gradient("prototypes").shape, (4, 6))


class TestAnalysis(unittest.TestCase):
    def setUp(self):
        self.context = mio.Context(seed=5)
        generator = numpy.random.default_rng(8)
        self.z1, self.z2 = generator.standard_normal((2, 9, 5))
        self.direction = generator.standard_normal((2, 9, 5))

    def test_displacements(self):
        loss = mio.Loss(self.context, "mio_decoupled", l2_weight=2)
        parts = loss.displacements(self.z1, self.z2, 0.3)
        _, *gradients = loss.compute(self.z1, self.z2)
        numpy.testing.assert_allclose(sum(parts), -0.3 * numpy.array(gradients), atol=1e-14)
        with self.assertRaises(mio.Error) as caught:
            mio.Loss(self.context, "vicreg").displacements(self.z1, self.z2)
        self.assertEqual(caught.exception.status, "unsupported")

    def test_mutual_information(self):
        found = mio.mutual_information(self.context, self.z1, self.z2)
        value = mio.Loss(self.context, "mio", l2_weight=0).compute(self.z1, self.z2, False)
        self.assertAlmostEqual(found["jensen_shannon"], 2 * numpy.log(2) - value, places=12)
        self.assertEqual(mio.Loss(self.context, "mio").mutual_information(self.z1, self.z2), found)

    def test_projector_gradient(self):
        gradients, features = self.z1, self.z2[:, :3]
        numpy.testing.assert_allclose(mio.projector_gradient(self.context, gradients, features), gradients.T @ features)

    def test_hessian(self):
        loss = mio.Loss(self.context, "nt_xent")
        product = loss.hessian_product(self.z1, self.z2, self.direction)
        moved = [loss.compute(self.z1 + h * self.direction[0], self.z2 + h * self.direction[1])[1:] for h in (1e-5, -1e-5)]
        numpy.testing.assert_allclose(product, (numpy.array(moved[0]) - numpy.array(moved[1])) / 2e-5, atol=1e-9)
        columns = numpy.eye(90).reshape(90, 2, 9, 5)
        dense = numpy.array([loss.hessian_product(self.z1, self.z2, column).ravel() for column in columns])
        numpy.testing.assert_allclose(dense, dense.T, atol=1e-15)
        values, weights = loss.hessian_spectrum(self.z1, self.z2, 90)
        exact = numpy.linalg.eigvalsh(dense)
        numpy.testing.assert_allclose((values[0], values[-1]), (exact[0], exact[-1]), rtol=1e-10)
        self.assertAlmostEqual(weights.sum(), 1, places=12)
        with self.assertRaisesRegex(ValueError, "direction"):
            loss.hessian_product(self.z1, self.z2, self.direction[0][None])

    def test_encoder_hessian(self):
        builder = mio.Builder(self.context, 3, 6, 6)
        mean = builder.global_average_pool(builder.input())
        encoder = builder.finish(mean, builder.linear(mean, 4, False))
        self.assertEqual(encoder.weight_count, 12)
        images = numpy.random.default_rng(3).standard_normal((2, 8, 6, 6, 3)).astype(numpy.float32)
        loss, (name,) = mio.Loss(self.context, "mio"), encoder.tensors()
        before = encoder.tensor(name)
        dense = numpy.array([encoder.hessian_product(loss, images, row, 1e-3) for row in numpy.eye(12)])
        values, _ = encoder.hessian_spectrum(loss, images, 12, step=1e-3)
        exact = numpy.linalg.eigvalsh((dense + dense.T) / 2)
        self.assertLess(abs(values[-1] - exact[-1]), 1e-2 * abs(exact).max())
        numpy.testing.assert_array_equal(encoder.tensor(name), before)


class TestEncoder(unittest.TestCase):
    def setUp(self):
        self.context = mio.Context(seed=3)

    def build(self):
        builder = mio.Builder(self.context, 3, 12, 10)
        h = builder.resnet(builder.input(), 18, 4, mio.Builder.SMALL)
        return builder.finish(h, builder.projector(h, 2, 16, 8))

    def test_heads(self):
        builder = mio.Builder(self.context, 3, 12, 10)
        h = builder.global_average_pool(builder.conv2d(builder.input(), 8, 3))
        z = builder.mlp(h, 2, 16, 8, last_norm=mio.Builder.NORM_NONE)
        encoder = builder.finish(h, z, builder.predictor(z, 2, 4, 8))
        self.assertEqual((encoder.projection_dim, encoder.prediction_dim), (8, 8))
        self.assertIn("predictor.mlp.2.linear_layer.bias", encoder.tensors())

    def test_weights(self):
        encoder = self.build()
        self.assertEqual((encoder.feature_dim, encoder.projection_dim), (32, 8))
        self.assertEqual(encoder.input_shape, (3, 12, 10))
        self.assertEqual(encoder.tensors()["layer1.0.conv1.weight"], (4, 4, 3, 3))
        values = numpy.arange(4 * 4 * 9, dtype=numpy.float32).reshape(4, 4, 3, 3)
        encoder.set_tensor("layer1.0.conv1.weight", values)
        numpy.testing.assert_array_equal(encoder.tensor("layer1.0.conv1.weight"), values)

    def test_step_by_hand(self):
        encoder = self.build()
        loss = mio.Loss(self.context, "mio")
        optimizer = mio.Optimizer(self.context, "sgd", encoder, learning_rate=0.05)
        images = numpy.random.default_rng(2).standard_normal((1, 16, 12, 10, 3)).astype(numpy.float32)
        images = numpy.concatenate([images, images + 0.1])
        values = []
        for _ in range(5):
            _, z = encoder.forward(images)
            value, grad_z1, grad_z2 = loss.compute(z[0], z[1])
            encoder.backward(numpy.stack([grad_z1, grad_z2]))
            self.assertGreater(abs(encoder.gradient("conv1.weight")).max(), 0)
            optimizer.step()
            values.append(value)
        self.assertLess(values[-1], values[0])

    def test_files(self):
        encoder = self.build()
        images = numpy.random.default_rng(4).integers(0, 256, (5, 12, 10, 3), numpy.uint8)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "encoder.mio")
            encoder.save(path)
            loaded = mio.Encoder.load(self.context, path)
            numpy.testing.assert_array_equal(loaded.embed(images), encoder.embed(images))
            with open(path, "r+b") as file:
                file.truncate(100)
            with self.assertRaises(mio.Error) as caught:
                mio.Encoder.load(self.context, path)
            self.assertEqual(caught.exception.status, "format")

    def test_tuning(self):
        builder = mio.Builder(self.context, 16, 8, 8)
        convolved = builder.conv2d(builder.input(), 16, 3, padding=1)
        encoder = builder.finish(builder.global_average_pool(convolved))
        first = encoder.convolutions(2, 16)[0]
        self.assertEqual((first["in_channels"], first["height"], first["kernel"], first["tuned"]), (16, 8, 3, 0))
        self.assertIsNone(first["data_gradient"])
        encoder.tune(2, 16, 0)
        self.assertEqual(encoder.convolutions(2, 16)[0]["tuned"], 2)
        self.assertIsNone(encoder.convolutions(0, 16)[0]["weight_gradient"])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tuning.txt")
            encoder.save_tuning(path)
            chosen = encoder.convolutions(2, 16)
            encoder.clear_tuning()
            self.assertEqual(encoder.convolutions(2, 16)[0]["tuned"], 0)
            encoder.load_tuning(path)
            self.assertEqual(encoder.convolutions(2, 16), chosen)
            with open(path, "a") as file:
                file.write("forward\n")
            with self.assertRaisesRegex(mio.Error, "tuning.txt', line"):
                encoder.load_tuning(path)

    def test_release_in_any_order(self):
        encoder = self.build()
        self.context = None
        gc.collect()
        self.assertEqual(encoder.embed(numpy.zeros((1, 12, 10, 3), numpy.uint8)).shape, (1, 32))


class TestTrainer(unittest.TestCase):
    def setUp(self):
        self.context = mio.Context(seed=1)
        self.images, self.labels = stripes(64, 12)
        self.dataset = mio.Dataset.from_arrays(self.context, self.images, self.labels)
        self.recipe = mio.Recipe(self.context, "mio-tiny", loader__batch_size=16, encoder__base_width=8,
                                 projector__hidden=16, projector__out=8, trainer__epochs=2)

    def test_dataset(self):
        self.assertEqual((len(self.dataset), self.dataset.classes), (64, 2))
        numpy.testing.assert_array_equal(self.dataset.image(5), self.images[5])
        numpy.testing.assert_array_equal(list(self.dataset), self.images)
        numpy.testing.assert_array_equal(self.dataset[-1], self.images[-1])
        numpy.testing.assert_array_equal(self.dataset.labels(), self.labels)

    def test_image_names(self):
        with self.assertRaises(mio.Error) as caught:
            self.dataset.image_name(0)
        self.assertEqual(caught.exception.status, "unsupported")
        picture = os.path.join(os.path.dirname(__file__), "..", "data", "images", "rgb.png")
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(picture, os.path.join(folder, "a.png"))
            shutil.copy(picture, os.path.join(folder, "b \u00e4.png"))
            try:
                images = mio.Dataset.open(self.context, "flat", folder)
            except mio.Error as error:
                self.skipTest(str(error))  # a build without PNG
        self.assertEqual([images.image_name(i) for i in range(2)], ["a.png", "b \u00e4.png"])
        self.assertIsNone(images.class_name(0))

    def test_folder_of_classes(self):
        pictures = os.path.join(os.path.dirname(__file__), "..", "data", "images")
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "dark"))
            shutil.copy(os.path.join(pictures, "grey.png"), os.path.join(folder, "dark", "a.png"))
            try:
                grey = mio.Dataset.open(self.context, "folder", folder)
            except mio.Error as error:
                self.skipTest(str(error))  # a build without PNG
            colour = mio.Dataset.open(self.context, "folder", folder, shorter_side=5, channels=3)
            with self.assertRaises(mio.Error):
                mio.Dataset.open(self.context, "folder", folder, channels=2)
        self.assertEqual((grey.class_name(0), grey.class_name(1)), ("dark", None))
        self.assertEqual((grey.image(0).shape[2], colour.image(0).shape[2], min(colour.image(0).shape[:2])), (1, 3, 5))

    def test_run_and_resume(self):
        reports = []
        trainer = self.recipe.build(self.dataset)
        trainer.run(reports.append)
        self.assertEqual([report["step"] for report in reports], list(range(1, 9)))
        with tempfile.TemporaryDirectory() as folder:
            first = self.recipe.build(self.dataset)
            for _ in range(3):
                first.step()
            first.save(os.path.join(folder, "checkpoint.mio"))
            second = self.recipe.build(self.dataset)
            second.restore(os.path.join(folder, "checkpoint.mio"))
            self.assertEqual(second.steps_done, 3)
            self.assertEqual([second.step()["loss"] for _ in range(5)], [report["loss"] for report in reports[3:]])
        numpy.testing.assert_array_equal(second.encoder.tensor("conv1.weight"), trainer.encoder.tensor("conv1.weight"))

    def parts(self, loss):
        """A run that is put together by hand."""
        builder = mio.Builder(self.context, 1, 12, 12)
        builder.name("conv1")
        features = builder.global_average_pool(builder.relu(builder.conv2d(builder.input(), 8, 3, padding=1)))
        encoder = builder.finish(features, builder.projector(features, 2, 16, 8))
        augment = mio.Augment(self.context, "none", 12, 12, 1, flip_probability=0.5).set_normalization([0.5], [0.25])
        loader = mio.Loader(self.dataset, augment, batch_size=16)
        return mio.Trainer(encoder, loss, mio.Optimizer(self.context, "sgd", encoder),
                           mio.Schedule(self.context, "constant", learning_rate=0.05), loader, steps=4)

    def test_parts(self):
        built_in = self.parts(mio.Loss(self.context, "mio"))
        built_in.run()
        by_definition = mio.Loss(self.context, "mio")
        custom = self.parts(mio.Loss.custom(self.context, "mine", by_definition.compute))
        gc.collect()
        custom.run()
        numpy.testing.assert_array_equal(custom.encoder.tensor("conv1.weight"), built_in.encoder.tensor("conv1.weight"))
        with self.assertRaises(ZeroDivisionError):
            self.parts(mio.Loss.custom(self.context, "broken", lambda z1, z2: 1 / 0)).step()

    def test_views(self):
        mean, deviation = self.dataset.statistics()
        numpy.testing.assert_allclose([mean[0], deviation[0]], [(self.images / 255).mean(), (self.images / 255).std()])
        plain = mio.Augment(self.context, "none", 12, 12, 1)
        numpy.testing.assert_allclose(plain.apply(self.images[3]), self.images[3] / numpy.float32(255), atol=1e-6)
        plain.set_normalization(mean, deviation)
        numpy.testing.assert_allclose(plain.apply(self.images[3]), (self.images[3] / 255 - mean) / deviation, atol=1e-5)
        loader = mio.Loader(self.dataset, mio.Augment(self.context, "mio-paper", 8, 8, 1), batch_size=10, seed=3)
        self.assertEqual(loader.steps_per_epoch, 6)
        first, second = next(loader), next(loader)
        self.assertEqual(first["images"].shape, (2, 10, 8, 8, 1))
        self.assertEqual(((first["epoch"], first["step"]), (second["epoch"], second["step"])), ((0, 0), (0, 1)))
        numpy.testing.assert_array_equal(second["labels"], self.labels[second["indices"]])
        self.assertFalse((first["images"] == second["images"]).all())
        loader.seek(0)
        numpy.testing.assert_array_equal(next(loader)["images"], first["images"])
        self.assertEqual(mio.Schedule(self.context, "constant", learning_rate=0.3).at(5, 10), 0.3)
        self.assertIn("mio-paper", mio.augment_names())
        self.assertIn("cosine", mio.schedule_names())
        self.assertIn("lars", mio.optimizer_names())

    def test_parts_of_a_dataset(self):
        subset = mio.Dataset.from_arrays(self.context, self.images, self.labels).subset([5, 2])
        first, second = self.dataset.split(0.25, seed=1)
        gc.collect()
        numpy.testing.assert_array_equal([subset.image(0), subset.image(1)], self.images[[5, 2]])
        self.assertEqual((len(first), len(second), first.labels().mean()), (16, 48, 0.5))

    def test_finetuning(self):
        self.recipe.set(encoder__height=12, encoder__width=12)
        encoder = self.recipe.build(self.dataset).encoder
        train, validation = self.dataset.split(0.5)
        mean, deviation = encoder.normalization()
        numpy.testing.assert_array_equal((mean, deviation), self.dataset.statistics())
        augment = mio.Augment(self.context, "none", 12, 12, 1).set_normalization(mean, deviation)
        tuned = mio.Finetune(encoder, epochs=10, batch_size=8, learning_rate=0.05).run(train, augment, validation)
        self.assertGreater((tuned.predict(validation) == validation.labels()).mean(), 0.9)
        self.assertEqual(len(tuned.run(train, augment).predict(self.dataset)), 64)

    def test_callbacks(self):
        def broken(report):
            raise KeyError("mine")

        with self.assertRaises(KeyError):
            self.recipe.build(self.dataset).run(broken)
        with self.assertRaises(mio.Error) as caught:
            self.recipe.build(self.dataset).run(lambda report: False)
        self.assertEqual(caught.exception.status, "cancelled")
        trainer = self.recipe.build(self.dataset)
        with self.assertRaises(KeyboardInterrupt):
            trainer.run(lambda report: signal.raise_signal(signal.SIGINT))
        self.assertEqual(trainer.steps_done, 1)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        trainer = self.recipe.build(self.dataset)
        with self.assertRaises(mio.Error):
            trainer.run(lambda report: numpy.array([1.0]).mean() > 2)
        self.assertEqual(trainer.steps_done, 1)

    def test_encoder(self):
        trainer = self.recipe.build(self.dataset)
        self.assertIs(trainer.encoder, trainer.encoder)
        views = numpy.zeros((2, 4) + tuple(numpy.roll(trainer.encoder.input_shape, -1)), numpy.float32)
        views += numpy.random.default_rng(1).standard_normal(views.shape).astype(numpy.float32)
        _, projections = trainer.encoder.forward(views)
        trainer.encoder.backward(projections)
        trainer.step()
        with self.assertRaises(ValueError):  # of the step's batch, not of these views
            trainer.encoder.backward(projections)
        with self.assertRaises(TypeError):
            copy.copy(trainer)

    def test_whole_numbers(self):
        with self.assertRaises(TypeError):
            mio.Dataset.from_arrays(self.context, self.images / 255.0, self.labels)
        with self.assertRaises(TypeError):
            mio.Dataset.from_arrays(self.context, self.images, self.labels.astype(numpy.int64) + 2**32)
        with self.assertRaises(TypeError):
            mio.Loss(self.context, "sogclr").set_batch(indices=numpy.array([-1, 0]))
        self.assertEqual(mio.Dataset.from_arrays(self.context, self.images, self.labels.astype(int)).classes, 2)

    def test_evaluation(self):
        features = self.dataset.embed(self.recipe.build(self.dataset).encoder)
        indices, cosines = mio.Knn(self.context).fit(features).search(features, 3)
        numpy.testing.assert_allclose(cosines[:, 0], 1, atol=1e-5)
        self.assertTrue((numpy.diff(cosines, axis=1) <= 0).all())
        classes = mio.Knn(self.context, k=1).fit(features, self.labels).predict(features)
        self.assertGreater((classes == self.labels).mean(), 0.9)
        probe = mio.Probe(self.context).fit(features, self.labels)
        self.assertGreater((probe.predict(features) == self.labels).mean(), 0.9)
        numpy.testing.assert_array_equal(probe.logits(features).argmax(1), probe.predict(features))
        with self.assertRaises(mio.Error):
            probe.fit(features, self.labels * 3 - 1)
        self.assertEqual(probe.logits(features).shape, (64, 2))
        chosen = mio.Probe(self.context, penalty=0).fit(features[:32], self.labels[:32], (features[32:], self.labels[32:]))
        self.assertGreater((chosen.predict(features) == self.labels).mean(), 0.9)


if __name__ == "__main__":
    unittest.main()
