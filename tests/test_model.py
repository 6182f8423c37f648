import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812

import model
import utils
from files.images import fit_image, read_image
from training import augment, dataset, metrics, plots


def small_net(head="attention", charset="abc", length=3, size=(16, 48), channels=1):
    torch.manual_seed(0)
    return model.CaptchaNet(charset, length, size, channels, head)


def random_images(count, net, seed=0):
    torch.manual_seed(seed)
    return torch.randint(0, 256, (count, net.channels, *net.size), dtype=torch.uint8)


@pytest.mark.parametrize("head", model.HEADS)
def test_a_tiny_set_is_memorised(head):
    net = small_net(head)
    images = random_images(12, net)
    targets = torch.randint(0, 4, (12, 3))
    net.set_normalisation(images)
    optimizer = torch.optim.AdamW(net.parameters(), 0.003)
    net.train()
    for _ in range(120):
        loss = F.cross_entropy(net(images).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model.compute_logits(net, images).argmax(2) == targets).all()


@pytest.mark.parametrize("head", model.HEADS)
def test_checkpoint_rebuilds_the_same_network(tmp_path, head):
    net = small_net(head, charset="ab\N{SNOWMAN}", channels=3)
    images = random_images(9, net)
    net.set_normalisation(images)
    net.train()(images)  # moves the batch norm away from its first values
    model.save_checkpoint(net, tmp_path / "c.pt", {"val": {"image_accuracy": 0.5}})
    loaded, about = model.load_checkpoint(tmp_path / "c.pt")
    assert loaded.architecture() == net.architecture()
    assert about == {"val": {"image_accuracy": 0.5}}
    assert torch.equal(model.compute_logits(loaded, images), model.compute_logits(net, images))


def test_attention_maps_are_shares_of_the_image():
    net = small_net()
    logits, maps = net.eval().look(random_images(5, net))
    assert logits.shape == (5, 3, 4)
    assert maps.shape == (5, 3, 2, 12)
    shares = maps.sum(dim=(2, 3))  # the rest went to "nothing there"
    assert (maps >= 0).all()
    assert (shares > 0.1).all()
    assert (shares <= 1 + 1e-5).all()
    assert torch.equal(logits, net(random_images(5, net)))


def test_positions_look_from_left_to_right():
    net = small_net(length=4, size=(16, 96))
    _, maps = net.eval().look(random_images(3, net))
    columns = torch.arange(24) + 0.5
    middles = (maps.sum(dim=2) * columns).sum(dim=2) / maps.sum(dim=(2, 3))  # (3, 4)
    assert torch.allclose(middles, torch.tensor([3.0, 9.0, 15.0, 21.0]), atol=1.5)


def test_logits_do_not_depend_on_the_batch_and_the_mode_is_restored():
    net = small_net()
    images = random_images(7, net)
    whole = model.compute_logits(net.train(), images)
    assert net.training
    parts = model.compute_logits(net.eval(), images, batch_size=2)
    assert not net.training
    assert torch.allclose(whole, parts, atol=0.02)  # bfloat16 where the processor has it


def test_five_looks_are_averaged():
    net = small_net(channels=3)
    images = random_images(3, net)
    wide = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    height, width = net.size
    looks = [
        model.compute_logits(
            net, torch.from_numpy(wide[:, :, y : y + height, x : x + width].copy())
        )
        for y, x in ((2, 2), (0, 2), (4, 2), (2, 0), (2, 4))
    ]
    expected = torch.stack([logits.log_softmax(2) for logits in looks]).mean(0)
    assert torch.allclose(model.average_logits(net, images), expected, atol=1e-5)


def test_readings_multiply_the_probabilities_and_leave_blanks_out():
    net = small_net()
    images = random_images(6, net)
    probabilities = model.average_logits(net, images).softmax(2)
    for reading, chances in zip(model.read_images(net, images), probabilities, strict=True):
        best = [max(range(4), key=lambda c, row=row: row[c]) for row in chances]
        assert reading.text == "".join(" abc"[c] for c in best if c)
        assert reading.confidence == pytest.approx(np.prod([max(row) for row in chances]))
        assert len(reading.characters) == len(reading.text)


def damage(path, how):
    data = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "text":
        path.write_text("a poem")
    elif how == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    elif how == "list":
        torch.save([1, 2], path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"format": model.FORMAT}))
    elif how == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.txt", "hello")
    elif how == "one bit":
        path.write_bytes(data[:-20_000] + bytes([data[-20_000] ^ 1]) + data[-19_999:])
    elif how == "compressed":
        with zipfile.ZipFile(path) as old:
            entries = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name, content in entries.items():
                new.writestr(name, content)
    else:
        checkpoint = torch.load(path, weights_only=True)
        if how == "fewer weights":
            checkpoint["weights"].popitem()
        elif how == "wrong charset":
            checkpoint["architecture"]["charset"] = "abcdef"
        elif how == "very long":
            checkpoint["architecture"]["length"] = 10**9
        elif how == "very wide":
            checkpoint["architecture"] |= {"size": [10**6, 10**6]}
        elif how == "very much":
            checkpoint["architecture"] |= {"size": [2000, 2000], "length": 1000, "head": "flatten"}
        elif how == "no architecture":
            del checkpoint["architecture"]
        torch.save(checkpoint, path)


@pytest.mark.parametrize(
    "how",
    ["empty", "cut", "text", "other", "list", "pickle", "zip", "fewer weights", "wrong charset",
     "no architecture", "very long", "very wide", "very much", "one bit", "compressed"],
)  # fmt: skip
def test_damaged_or_foreign_checkpoints_are_refused_by_name(tmp_path, how):
    path = tmp_path / "captcha.pt"
    model.save_checkpoint(small_net(), path, {})
    damage(path, how)
    with pytest.raises(ValueError, match=r"captcha\.pt"):
        model.load_checkpoint(path)


class Call:
    """Unpickled, this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_call_hidden_in_a_checkpoint_does_not_run(tmp_path):
    torch.save({"format": model.FORMAT, "about": Call(tmp_path / "ran")}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"c\.pt"):
        model.load_checkpoint(tmp_path / "c.pt")
    assert not (tmp_path / "ran").exists()


def test_take_over_keeps_what_both_networks_know():
    old = small_net(charset="abc", length=3)
    new = small_net(charset="bcd", length=4, size=(24, 64), channels=3)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    model.take_over(new, old)
    own, theirs = new.state_dict(), old.state_dict()
    weight, old_weight = own["classifier.weight"], theirs["classifier.weight"]
    assert torch.equal(weight[:3], old_weight[[0, 2, 3]])  # blank, b, c
    assert torch.equal(weight[3], fresh["classifier.weight"][3])  # d is new
    assert torch.equal(own["density.weight"], theirs["density.weight"])
    grey = random_images(2, old).float()
    first = F.conv2d(grey, theirs["trunk.0.weight"])
    assert torch.allclose(
        F.conv2d(grey.repeat(1, 3, 1, 1), own["trunk.0.weight"]), first, atol=1e-2
    )


def test_take_over_keeps_the_rows_of_flatten_heads_for_shared_characters():
    old, new = small_net("flatten", "abc", length=3), small_net("flatten", "bcd", length=4)
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    model.take_over(new, old)
    own, theirs = new.state_dict(), old.state_dict()
    for head in ("heads.0.weight", "heads.2.bias"):
        assert torch.equal(own[head][:3], theirs[head][[0, 2, 3]])  # blank, b, c
        assert torch.equal(own[head][3], fresh[head][3])  # d is new
    assert torch.equal(own["heads.3.weight"], fresh["heads.3.weight"])  # nobody knew position 4


@pytest.mark.parametrize("head", model.HEADS)
def test_take_over_of_an_equal_network_copies_it(head):
    old, new = small_net(head), small_net(head)
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter)
    model.take_over(new, old)
    images = random_images(4, old)
    assert torch.equal(model.compute_logits(new, images), model.compute_logits(old, images))


# ---- augmentation


def test_augmentation_of_strength_zero_changes_nothing():
    images = torch.rand(4, 3, 24, 40) * 255
    assert torch.allclose(augment.augment(images, strength=0), images, atol=0.01)


@pytest.mark.parametrize("width", [64, 160, 640])
def test_augmentation_keeps_the_letters_at_both_ends_however_long_the_image(width):
    image = torch.full((1, 40, width), 220, dtype=torch.uint8)
    image[:, 14:26, 12:24] = image[:, 14:26, -24:-12] = 40  # two letters
    torch.manual_seed(0)
    changed = augment.augment(image.repeat(300, 1, 1, 1))  # (300, 1, 40, W)
    for end in (changed[..., : width // 2], changed[..., width // 2 :]):
        dark = (end < 130).sum(dim=(1, 2, 3)) / 144  # of a letter
        assert (dark > 0.6).float().mean() > 0.95


def test_augmentation_changes_each_image_differently_and_stays_in_range():
    images = torch.full((2, 1, 24, 40), 128, dtype=torch.uint8)
    images[:, :, 8:16, 10:30] = 20
    changed = augment.augment(images)
    assert changed.shape == images.shape
    assert 0 <= changed.min() < changed.max() <= 255
    assert not torch.allclose(changed[0], changed[1], atol=5)
    assert images.unique().tolist() == [20, 128]  # the original is left alone


def test_a_turn_is_a_turn_also_in_a_wide_image(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size))
    images = torch.zeros(1, 1, 41, 121)
    images[0, 0, 20, 20:101] = 255  # a level line, 80 long
    turned = augment.warp(images, turn=0.1, stretch=0, lean=0, shift=0, bend=0)[0, 0]
    rows = turned.argmax(dim=0)
    assert abs((rows[30] - rows[90]).item()) == pytest.approx(60 * np.tan(0.1), abs=1.5)


def test_about_a_share_of_the_channels_is_inverted_and_no_other_value_appears():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (500, 3, 2, 2)).float()
    changed = augment.invert(images, 0.3)
    kept = (changed == images).all(dim=(2, 3))
    assert 0.65 < kept.float().mean() < 0.75
    assert ((changed == 255 - images).all(dim=(2, 3)) | kept).all()
    assert len(kept.sum(dim=1).unique()) == 4


# ---- evaluation


def test_scores_agree_with_counting_by_hand():
    targets = torch.tensor([[1, 2, 0], [2, 0, 0], [1, 1, 1]])
    read = torch.tensor([[1, 2, 0], [2, 1, 0], [1, 2, 1]])
    logits = F.one_hot(read, 3).float() * 20
    side = dataset.Side(["ab", "b", "aaa"], None, targets)
    scores = metrics.score(logits, side)
    # Positions that the label or the reading has: 2 + 2 + 3; wrong: the extra a, and one b.
    assert scores.characters == pytest.approx(5 / 7)
    assert scores.images == pytest.approx(1 / 3)


def test_the_picture_of_mistakes_begins_with_the_surest(tmp_path, monkeypatch):
    shown = []
    sheet = plots.mistakes_sheet
    monkeypatch.setattr(plots, "mistakes_sheet", lambda *a: shown.append(a) or sheet(*a))
    net = small_net("flatten")
    read = torch.tensor([[1, 1, 1], [2, 2, 2], [3, 3, 3], [1, 2, 3]])
    logits = F.one_hot(read, 4) * torch.tensor([3.0, 9.0, 6.0, 4.0])[:, None, None]
    targets = torch.tensor([[1, 1, 2], [2, 2, 1], [3, 3, 3], [1, 1, 3]])  # the third is right
    side = dataset.Side(["aab", "bba", "ccc", "aac"], random_images(4, net), targets)
    row = {"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "learning_rate": 0.1, "val_images": 0.5}
    row |= {"train_characters": 0.5, "val_characters": 0.5, "progress": 1}
    metrics.draw_pictures(net, side, logits, [row], tmp_path)
    ((mistakes, total),) = shown
    assert [(label, text) for _, label, text, _ in mistakes] == [
        ("bba", "bbb"), ("aac", "abc"), ("aab", "aaa")
    ]  # fmt: skip
    assert total == 4


def test_the_picture_of_attention_lays_each_position_where_it_looked():
    maps = np.zeros((2, 3, 5, 30), np.float32)
    for position, column in enumerate((3, 14, 25)):
        maps[1, position, 2, column] = 1
    images = np.full((2, 1, 40, 120), 200, np.uint8)
    figure = plots.attention_sheet(images, maps, ["", "abc"], np.ones((2, 3)))
    places = np.array(figure.axes).reshape(2, 4)[1, 1:]  # the second image's, behind itself
    for place, column in zip(places, (3, 14, 25), strict=True):
        grey, light = place.images
        assert list(light.get_extent()) == list(grey.get_extent())
        y, x = np.unravel_index(light.get_alpha().argmax(), (40, 120))
        assert abs(x - 4 * (column + 0.5)) <= 4
        assert abs(y - 8 * 2.5) <= 8
    plots.plt.close(figure)


def noisy_side(count, strength, seed, scale=4):
    """Logits that are right on average, but ``strength`` times as sure as they should be."""
    torch.manual_seed(seed)
    logits = torch.randn(count, 3, 5) * scale
    targets = torch.distributions.Categorical(logits=logits).sample()
    return strength * logits, dataset.Side([""] * count, None, targets)


@pytest.mark.parametrize("strength", [0.7, 1.0, 3.0])
def test_temperature_finds_how_much_too_sure_the_network_is(strength):
    logits, side = noisy_side(20_000, strength, 0)
    assert metrics.fit_temperature(logits, side) == pytest.approx(strength, rel=0.04)
    logits = logits / strength  # then confidence is what share is right
    right = (logits.argmax(2) == side.targets).all(1).float()
    sure = metrics.confidences_of(logits)
    for low in (0.2, 0.4, 0.6, 0.8):
        some = (sure > low) & (sure < low + 0.2)
        assert right[some].mean().item() == pytest.approx(sure[some].mean().item(), abs=0.03)


def test_few_validation_images_change_the_temperature_little():
    """Twenty read right do not make the network surer, nor does one sure mistake destroy it."""
    logits = torch.zeros(20, 3, 5)
    logits[:, :, 1] = 9.0
    right = dataset.Side([""] * 20, None, torch.ones(20, 3, dtype=torch.int64))
    assert 0.8 < metrics.fit_temperature(logits, right) <= 1
    one_wrong = right._replace(targets=right.targets.clone())
    one_wrong.targets[0, 0] = 2
    assert 1 < metrics.fit_temperature(logits, one_wrong) < 1.4
    assert metrics.fit_temperature(logits, one_wrong, torch.inf) > 1.5


def test_coverage_thresholds_come_from_validation_and_are_shown_on_the_test(capsys):
    val, test = noisy_side(3000, 1.0, 1, scale=12), noisy_side(3000, 1.0, 2, scale=12)
    rows = metrics.coverage_table(val[0], *test)
    assert [row["wanted_precision"] for row in rows][0] == 0.95
    shares = [row["answered"] for row in rows]
    assert shares == sorted(shares, reverse=True)
    for row in rows:
        slow = [sure for sure in metrics.confidences_of(val[0]) if sure >= row["min_confidence"]]
        assert sum(slow) / len(slow) == pytest.approx(row["wanted_precision"], abs=0.002)
        assert row["precision"] == pytest.approx(row["wanted_precision"], abs=0.02)
        assert row["min_confidence"] == round(row["min_confidence"], 4)  # predict.py shows four
    described = metrics.describe(*test, "abcd")
    figures = {"test": described, "val": described, "coverage": rows}
    metrics.print_figures(figures)
    assert f"MIN_CONFIDENCE={rows[2]['min_confidence']}, found on 3000" in capsys.readouterr().out
    unsure = metrics.coverage_table(val[0] / 100, test[0] / 100, test[1])
    metrics.print_figures({**figures, "coverage": unsure})
    assert "None of 3000 validation images" in capsys.readouterr().out
    unanswered = metrics.coverage_table(val[0], test[0] / 100, test[1])
    metrics.print_figures({**figures, "coverage": unanswered})
    assert capsys.readouterr().out.endswith(" 0.0 % answered\n")
    certain = torch.tensor([[[0.0, 99.0]]])  # with a confidence of 1
    rows = metrics.coverage_table(certain, certain, dataset.Side(["a"], None, torch.ones(1, 1)))
    assert [row["answered"] for row in rows] == [1, 1, 1, 1]
    assert max(row["min_confidence"] for row in rows) < 1


def test_only_confident_readings_become_labels():
    torch.manual_seed(0)
    logits, images = torch.randn(300, 2, 3) * 5, torch.arange(300)
    side = metrics.confident_readings(logits, images, "ab")
    expected = []
    for i, image in enumerate(logits.double().softmax(2)):
        (first, a), (second, b) = [max((p.item(), c) for c, p in enumerate(row)) for row in image]
        if first * second >= 0.9:
            expected.append((i, "".join(" ab"[c] for c in (a, b) if c)))
    assert list(zip(side.images.tolist(), side.labels, strict=True)) == expected
    assert 10 < len(expected) < 290
    assert side.targets.tolist() == utils.encode_labels(side.labels, "ab", 2).tolist()


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(105, 107, 0.9344, 0.9949), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval_has_its_published_values(right, total, low, high):
    found = metrics.wilson_interval(right / total, total)
    assert found == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


def test_labels_without_glyphs_can_be_drawn():
    assert plots.visible("a\x07b") == "a<7>b"
    image = np.zeros((1, 8, 20), np.uint8)
    figure = plots.image_sheet([image], [plots.visible("$\x00_{\N{SNOWMAN}")], ["black"])
    figure.canvas.draw()


def test_prepared_images_fit_the_network():
    net = small_net()
    image = np.zeros((30, 300, 3), np.uint8)
    assert model.prepare(net, image).shape == (1, 16, 48)
    assert fit_image(image, net.size, 1).shape == (1, 16, 48)


def test_size_and_colour_follow_from_the_images_and_one_odd_image_changes_little(tmp_path):
    def write(name, height, width, colour):
        image = np.full((height, width, 3), 230, np.uint8)
        image[height // 4 : height // 2, width // 4 : width // 2] = colour
        Image.fromarray(image).save(tmp_path / name)
        return tmp_path / name

    files = [write(f"{i}.png", 50, 200, (40, 40, 40)) for i in range(60)]
    whole = (0, 0, 1, 1)
    assert dataset.learn_shape(files) == (whole, (40, 160), 1)
    banner = write("banner.png", 40, 2000, (9, 9, 9))
    assert dataset.learn_shape([*files, banner]) == (whole, (40, 160), 1)
    assert dataset.learn_shape([*files, write("red.png", 50, 200, (200, 9, 9))])[2] == 3
    assert dataset.learn_shape([write("digit.png", 28, 28, (9, 9, 9))]) == (whole, (32, 32), 1)
    large = dataset.learn_shape([write("large.png", 700, 1400, (9, 9, 9))])[1]
    assert large[0] * large[1] <= 1.1 * dataset.max_area


def test_a_few_wide_images_do_not_make_the_others_tiny_unless_there_is_room(tmp_path):
    def shape(name, height, aspects):
        files = []
        for number, aspect in enumerate(aspects):
            image = np.full((height, height * aspect, 3), number, np.uint8)
            files.append(tmp_path / f"{name}{number}.png")
            Image.fromarray(image).save(files[-1])
        return dataset.learn_shape(files)[1]

    # Four in five are read as if the wide ones were not there, ...
    assert shape("large", 80, [4, 5, 6, 7, 8, 4, 5, 6, 8, 8, 16, 15]) == (32, 256)
    # ... but images that are small anyway keep their size, the widest as well.
    assert shape("small", 16, [4, 5, 6, 7, 8, 4, 5, 6, 8, 8, 16, 16]) == (16, 256)


def test_where_images_never_differ_the_network_does_not_look():
    ground = np.tile(np.linspace(60, 200, 250).astype(np.uint8)[:, None], (40, 1, 3))
    images = []
    for left in (20, 30, 50):  # something is written in columns 20 to 70, rows 10 to 20
        image = ground.copy()
        image[10:20, left : left + 20] = 255
        images.append(image)
    assert dataset.differing_box(images) == (0, 0, 1, 90 / 250)  # half a height around it, at least
    assert dataset.differing_box(images[:1] * 3) == (0, 0, 1, 1)


def test_one_image_of_another_size_does_not_bring_back_the_empty_half(tmp_path):
    for number in range(30):
        image = np.full((40, 160 if number else 150, 3), 255, np.uint8)
        image[10:30, number : number + 30] = 0  # something is written on the left
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    files = utils.image_files(tmp_path)
    assert dataset.learn_shape(files)[0] == (0, 0, 1, (29 + 30 + 20) / 160)


def test_images_of_several_sizes_are_cut_to_what_is_written_where_most_is_empty(tmp_path):
    stripes = np.where(np.arange(400) % 6 < 3, 255, 0)[:, None]

    def write(width, share):
        """Write striped text over a share of the height and of the width."""
        image = np.full((80, width, 3), 255, np.uint8)
        top, right = round(40 - 40 * share), round(width * share)
        image[top : 80 - top, :right] = stripes[:right]
        Image.fromarray(image).save(tmp_path / f"{width}-{share}.png")
        return tmp_path / f"{width}-{share}.png"

    empty, full = ([write(width, share) for width in (200, 300, 400)] for share in (0.5, 0.9))
    box, (height, width), _ = dataset.learn_shape(empty)
    assert box is None
    assert height * 3 < width < height * 5  # the proportions of the widest one's written part
    assert dataset.learn_shape(full)[0] == (0, 0, 1, 1)

    net = model.CaptchaNet("ab", 2, (40, 160), 1, "attention", None)
    model.save_checkpoint(net, tmp_path / "a.pt", {})
    net = model.load_checkpoint(tmp_path / "a.pt")[0]
    seen = model.prepare(net, read_image(empty[2]))  # (1, 40, 160)
    assert seen[:, 5:-5].float().var(dim=2).min() > 0  # writing from top to bottom


def test_the_part_that_the_network_sees_stays_in_the_checkpoint(tmp_path):
    net = model.CaptchaNet("ab", 2, (16, 48), 1, "attention", (0, 0.5, 1, 1))
    model.save_checkpoint(net, tmp_path / "a.pt", {})
    net = model.load_checkpoint(tmp_path / "a.pt")[0]
    image = np.zeros((32, 192, 3), np.uint8)
    image[:, 96:] = 200
    assert model.prepare(net, image).min() == 200


def test_figures_by_position_and_character_agree_with_counting_by_hand():
    torch.manual_seed(0)
    labels = ["ab", "b", "aab", "bb", "abb"] * 8
    targets = torch.from_numpy(utils.encode_labels(labels, "ab", 3))
    side = dataset.Side(labels, None, targets)
    logits = F.one_hot(targets, 3) + torch.randn(40, 3, 3)
    figures = metrics.describe(logits, side, "ab")
    read = [["", "a", "b"][c] for c in logits.argmax(2).flatten()]
    true = [["", "a", "b"][c] for c in targets.flatten()]
    pairs = list(zip(true, read, strict=True))
    for place in range(3):
        there = [pair for pair in pairs[place::3] if pair[0]]
        share = sum(a == b for a, b in there) / len(there)
        assert figures["positions"][place] == pytest.approx(share)
    for character, found in figures["characters"].items():
        assert found["images"] == true.count(character)
        right = pairs.count((character, character)) / true.count(character)
        assert found["accuracy"] == pytest.approx(right)
    times = [found["times"] for found in figures["confusions"]]
    assert times == sorted(times, reverse=True)
    assert sum(times) == sum(a != b for a, b in pairs)
    for found in figures["confusions"]:
        assert pairs.count((found["label"], found["read"])) == found["times"]
