import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.calibration import Reliability, Temperature
from geminifusion_model.evaluation.diagrams import interval_bar, reliability_diagram
from geminifusion_model.evaluation.evaluate import Scores
from geminifusion_model.evaluation.frame_images import frame_sheets
from geminifusion_model.evaluation.full_report import evaluate_fully, fit_temperature_on, frames_from_worst_to_best
from geminifusion_model.evaluation.html_report import HtmlReport
from geminifusion_model.evaluation.protocols import PROTOCOLS
from geminifusion_model.evaluation.robustness import evaluate_robustness

TASK = nyuv2_task(13)
HOT = Temperature(value=1.7, frames=2, pixels=9, nll_before=2.0, nll_after=1.9, protocol="p", data="<held-out>")


class Frames:
    task = TASK

    def __len__(self):
        return 3

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        depth = random.uniform(0.0, 8, (48, 64)).astype(np.float32)
        labels = random.integers(0, 13, (48, 64), np.uint8)
        labels[:8] = 255
        return Sample(f"<b>{index}</b>", random.integers(0, 256, (48, 64, 3), np.uint8), {"depth": depth}, labels)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=16)).eval()


@pytest.fixture(scope="module")
def results(net):
    torch.set_num_threads(1)
    return evaluate_fully(net, Frames(), protocol="native-labels", temperature=HOT)


@pytest.fixture(scope="module")
def page(net, results):
    return HtmlReport(
        title="tiny & small",
        subtitle="three frames",
        protocol=PROTOCOLS["native-labels"],
        results=results,
        sheets=frame_sheets(net, Frames(), results.scores, protocol="native-labels", task=TASK, count=2),
        robustness=evaluate_robustness(net, Frames(), clean=results.scores),
        facts={"data": "<made up>"},
    ).to_html()


class Tags(HTMLParser):
    """Checks that tags are nested, and keeps their attributes."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_nested_and_asks_nothing_from_outside(page):
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert not any(tag in ("script", "link", "iframe") for tag, _ in tags.seen)
    addresses = [value for _, attrs in tags.seen for name, value in attrs.items() if name in ("src", "href")]
    assert all(address.startswith("data:image/") for address in addresses)
    assert not re.search(r"https?://|@import", page)


def test_page_holds_scores_intervals_protocol_and_every_class(page, results):
    assert f"<b>{results.scores.miou:.1f}</b>" in page
    assert f"95 % interval {results.intervals.miou.low:.1f} to {results.intervals.miou.high:.1f}" in page
    assert PROTOCOLS["native-labels"].describe() in page
    for name in (*TASK.class_names, "EMM: depth missing", "not measured", "E(p=0.05)"):
        assert name in page
    assert page.count('<svg class="reliability"') == 2


def test_names_from_data_are_escaped(page):
    assert "tiny &amp; small" in page
    for text in ("&lt;b&gt;0&lt;/b&gt;", "&lt;held-out&gt;", "&lt;made up&gt;"):
        assert text in page
    assert "<b>0</b>" not in page


def test_every_frame_has_six_readable_images_and_truth_has_the_class_colors(net, results):
    sheets = frame_sheets(net, Frames(), results.scores, protocol="native-labels", task=TASK, count=2)
    assert [len(sheet.images) for sheet in sheets] == [6, 6]
    assert sheets[0].accuracy <= sheets[1].accuracy
    captions = [image.caption.split(",")[0] for image in sheets[0].images]
    assert captions == ["RGB", "Depth", "Truth", "Prediction", "Confidence", "Gate to depth"]
    images = [
        cv2.imdecode(np.frombuffer(base64.b64decode(image.address.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        for image in sheets[0].images
    ]
    assert all(image.shape == (48, 64, 3) for image in images)
    index = frames_from_worst_to_best(results.scores, 2)[0]
    label = Frames()[index].labels[20, 30]
    assert tuple(images[2][20, 30][::-1]) == TASK.palette[label]


def test_network_without_fusion_has_no_gate_image(results):
    plain = GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=16, fusion="none")).eval()
    sheets = frame_sheets(plain, Frames(), results.scores, protocol="native-labels", task=TASK, count=1)
    assert [len(sheet.images) for sheet in sheets] == [5]


def test_frame_without_any_measurement_is_still_shown(net, results):
    class Blind(Frames):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return Sample(sample.name, sample.rgb, {"depth": np.zeros((48, 64), np.float32)}, sample.labels)

    (sheet,) = frame_sheets(net, Blind(), results.scores, protocol="native-labels", task=TASK, count=1)
    assert sheet.images[1].caption == "Depth, nothing measured"


def test_frames_shown_run_from_the_worst_to_the_best_and_skip_unlabeled_ones():
    matrices = np.zeros((5, 2, 2), np.int64)
    matrices[:, 0, 0] = [5, 9, 1, 7, 0]
    matrices[:4, 0, 1] = 10 - matrices[:4, 0, 0]
    scores = Scores(protocol="p", frames=5, miou=0, pixel_accuracy=0, mean_accuracy=0, iou=(), matrices=matrices)
    assert frames_from_worst_to_best(scores, 2) == [2, 1]
    assert frames_from_worst_to_best(scores, 9) == [2, 0, 3, 1]
    assert frames_from_worst_to_best(scores, 0) == []


def test_report_without_extras_leaves_their_sections_out(results, tmp_path):
    report = HtmlReport(title="t", subtitle="s", protocol=PROTOCOLS["native-labels"], results=results)
    report.write(tmp_path / "deep" / "report.html")
    text = (tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    assert "When sensors fail" not in text
    assert "<h2>Frames</h2>" not in text


def test_text_of_a_full_report_names_every_measurement(results, net):
    text = results.to_text()
    for part in ("boundary F", "not measured", "95 % interval", "at temperature 1.700", "bootstrap draws"):
        assert part in text
    assert "no temperature fitted" in evaluate_fully(net, Frames(), protocol="native-labels").to_text()


def test_temperature_fitted_on_frames_lowers_their_likelihood_loss(net):
    found = fit_temperature_on(net, Frames(), protocol="native-labels", data="three frames")
    assert found.nll_after <= found.nll_before
    assert (found.frames, found.pixels) == (3, 3 * 40 * 64)


def test_diagram_draws_one_bar_for_each_bin_with_pixels():
    meter = Reliability(num_bins=10)
    meter.add_pixels(np.array([0.95, 0.55]), np.array([True, False]))
    assert reliability_diagram(meter).count('class="bar"') == 2
    assert reliability_diagram(Reliability()).count('class="bar"') == 0


def test_bar_without_a_value_is_empty_and_without_an_interval_has_no_whisker():
    assert "fill" not in interval_bar(float("nan"))
    assert "whisker" not in interval_bar(50.0)
    assert 'style="left:40.00%;width:20.00%"' in interval_bar(50.0, 40.0, 60.0)
