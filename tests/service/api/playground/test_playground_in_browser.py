"""The page at `/` with models whose labels are known: files, units, several pairs, keys, errors, sensors."""

import hashlib
import io
import struct

import cv2
import numpy as np
import pytest
import trimesh

pytestmark = pytest.mark.browser

KEY = "k/3f+e="


def wait_for_result(page, count=1):
    page.wait_for_selector(f"#history li:nth-child({count}) button, #problem:visible")
    assert page.is_hidden("#problem"), page.text_content("#problem")
    page.wait_for_selector("#legend .facts")


def png(image, *options):
    done, data = cv2.imencode(".png", image, list(options))
    assert done
    return data.tobytes()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def tiff(array, compression):
    done, data = cv2.imencode(".tiff", array, [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert done
    return data.tobytes()


def depth_files():
    rng = np.random.default_rng(1)
    smooth = np.linspace(400, 9000, 60 * 80).reshape(60, 80)
    depth = (smooth + rng.integers(0, 300, smooth.shape)).astype(np.uint16)
    depth[5:9, 10:30] = 0
    metres = (depth / 1000).astype(np.float32)
    for name in ("NONE", "SUB", "UP", "AVG", "PAETH"):
        yield f"png {name}", png(depth, cv2.IMWRITE_PNG_FILTER, getattr(cv2, f"IMWRITE_PNG_FILTER_{name}")), depth
    for name, code in (("none", 1), ("LZW", 5), ("deflate", 8), ("PackBits", 32773)):
        yield f"tiff16 {name}", tiff(depth, code), depth
    yield "tiff32 LZW", tiff(metres, 5), metres
    yield "npy uint16", npy(depth), depth
    for kind in (np.float16, np.float32, np.float64):
        yield f"npy {kind.__name__}", npy(metres.astype(kind)), metres.astype(kind).astype(np.float32)


def test_the_page_reads_depth_as_the_server_does(tiny_server, visit):
    with visit(tiny_server) as page:
        for name, data, stored in depth_files():
            raster = page.evaluate(
                """async (bytes) => {
                  const { readRaster } = await import("/playground/codecs.js");
                  const raster = await readRaster(new File([Uint8Array.from(bytes)], "depth"));
                  return raster && { ...raster, values: [...raster.values] };
                }""",
                list(data),
            )
            assert raster is not None, name
            assert (raster["height"], raster["width"]) == stored.shape, name
            assert raster["float"] == (stored.dtype != np.uint16), name
            np.testing.assert_allclose(np.reshape(raster["values"], stored.shape), stored, rtol=1e-6, err_msg=name)


def test_the_mask_on_screen_has_the_colors_of_the_labels(tiny_server, visit, choose_files, pair):
    colors = np.array([(120, 20, 20), (20, 120, 20), (20, 20, 220), (220, 220, 20)])
    with visit(tiny_server) as page:
        choose_files(page, {f"{name}.png": data for name, data in pair.files().items()})
        wait_for_result(page)
        page.fill("#opacity", "100")
        box = page.locator("#result-canvas").bounding_box()
        page.wait_for_timeout(100)
        for y, x in ((30, 3), (10, 40), (40, 60), (24, 32)):
            shown = page.evaluate(
                """([x, y]) => {
                  const canvas = document.getElementById("result-canvas");
                  const ratio = canvas.width / canvas.clientWidth;
                  return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data].slice(0, 3);
                }""",
                [(x + 0.5) * box["width"] / 64, (y + 0.5) * box["height"] / 48],
            )
            np.testing.assert_allclose(shown, colors[pair.labels[y, x]], atol=2)
        page.uncheck("#legend input >> nth=0")
        assert page.locator("#legend input:checked").count() == 3


def test_zoom_and_pixel_are_the_same_in_every_pane(tiny_server, visit, choose_files, pair):
    with visit(tiny_server) as page:
        choose_files(page, {f"{name}.png": data for name, data in pair.files().items()})
        wait_for_result(page)
        pane = "[data-modality=rgb] canvas"
        before = [page.locator(f"{one} canvas").first.screenshot() for one in ("[data-modality=depth]", "#result")]
        page.hover(pane)
        for _ in range(4):
            page.mouse.wheel(0, -300)
        page.wait_for_timeout(200)
        after = [page.locator(f"{one} canvas").first.screenshot() for one in ("[data-modality=depth]", "#result")]
        assert all(old != new for old, new in zip(before, after, strict=True))
        x, y = map(int, page.text_content("#at-pixel").split(", "))
        assert abs(x - 32) <= 1
        assert abs(y - 24) <= 1
        assert page.text_content("#at-metres") in (f"{pair.depth_mm[y, x] / 1000:.3f} m", "hole")


def test_leaving_depth_out_outlines_what_changes(tiny_server, visit, choose_files, pair):
    with visit(tiny_server) as page:
        choose_files(page, {f"{name}.png": data for name, data in pair.files().items()})
        wait_for_result(page)
        assert page.locator("#variants button", has_text="without RGB").is_disabled()
        page.click("#variants >> text=without depth")
        page.wait_for_selector("#variants [aria-pressed=true]")
        changed = np.mean(pair.labels % 2 == 1)  # far, which only depth tells
        assert page.text_content("#result-note") == f"without depth: {100 * changed:.0f} % of the pixels changed"
        assert "-F depth" not in page.text_content("#call")
        page.click("#variants >> text=without depth")
        page.wait_for_selector("#variants [aria-pressed=true]", state="detached")
        page.click("#views >> text=Disagreement")
        page.wait_for_selector("#call:has-text('disagreement=1')")


def test_several_pairs_in_a_row_stay_in_the_page(tiny_server, visit, choose_files, make_pair):
    pairs = [make_pair(seed) for seed in range(3)]
    files = {
        f"room_{i}.{name}.png": data for i, pair in enumerate(pairs) for name, data in pair.files().items()
    }  # as folders have them: rgb and depth of a room beside each other
    with visit(tiny_server) as page:
        choose_files(page, files)
        wait_for_result(page, 3)
        for i, pair in enumerate(pairs):
            page.click(f"#history button >> nth={len(pairs) - 1 - i}")
            largest = np.bincount(pair.labels.ravel()).argmax()
            name = ("dark near", "dark far", "bright near", "bright far")[largest]
            assert page.text_content("#legend .name >> nth=0") == name
            assert page.text_content("[data-modality=rgb] figcaption span") == f"room_{i}.rgb.png"


def test_files_find_their_place_by_name_or_by_what_they_are(tiny_server, visit):
    """As data sets call them: [files] and what becomes of them."""
    color, depth, jpeg = png(np.zeros((2, 2, 3), np.uint8)), png(np.ones((2, 2), np.uint16)), b"\xff\xd8\xff\xe0"
    cases = [
        ({"a.png": depth, "b.png": color}, [{"rgb": "b.png", "depth": "a.png"}]),
        ({"0.jpg": jpeg, "1.jpg": jpeg, "1.png": depth, "0.png": depth},
         [{"rgb": "0.jpg", "depth": "0.png"}, {"rgb": "1.jpg", "depth": "1.png"}]),
        ({"rgb_00045.jpg": jpeg, "sync_depth_00045.png": depth, "rgb_00046.jpg": jpeg, "sync_depth_00046.png": depth},
         [{"rgb": "rgb_00045.jpg", "depth": "sync_depth_00045.png"},
          {"rgb": "rgb_00046.jpg", "depth": "sync_depth_00046.png"}]),
        ({"frame-000001.color.png": color, "frame-000001.depth.png": depth, "frame-000002.color.png": color},
         [{"rgb": "frame-000001.color.png", "depth": "frame-000001.depth.png"}, {"rgb": "frame-000002.color.png"}]),
        ({"x.npy": npy(np.ones((2, 2)))}, [{"depth": "x.npy"}]),
    ]  # fmt: skip
    with visit(tiny_server) as page:
        for files, wanted in cases:
            found = page.evaluate(
                """async (files) => {
                  const { scenesOf } = await import("/playground/inputs.js");
                  const specs = [{ name: "rgb", unit: "intensity" }, { name: "depth", unit: "metre" }];
                  const all = Object.entries(files).map(([name, bytes]) => new File([Uint8Array.from(bytes)], name));
                  const scenes = await scenesOf(all, specs);
                  return scenes.map((one) => Object.fromEntries([...one].map(([name, file]) => [name, file.name])));
                }""",
                {name: list(data) for name, data in files.items()},
            )
            assert found == wanted


def test_one_bad_pair_does_not_stop_the_others(tiny_server, visit, choose_files, make_pair):
    files = {f"{i}.{name}.png": data for i in range(3) for name, data in make_pair(i).files().items()}
    files["1.rgb.png"] = b"no image"
    with visit(tiny_server) as page:
        choose_files(page, files)
        page.wait_for_selector("#problem:visible")
        assert "1 of 3 scenes failed. The first, 1.rgb.png: rgb is no image" in page.text_content("#problem")
        assert page.locator("#history button").count() == 2
        page.wrong.clear()  # the browser notes the status 400


def test_what_is_begun_last_is_what_is_shown(bundled_server, visit):
    with visit(bundled_server) as page:
        page.wait_for_selector("#samples button")
        page.evaluate("for (const button of document.querySelectorAll('#samples button')) button.click()")
        wait_for_result(page)
        page.wait_for_timeout(1000)
        assert page.text_content("[data-modality=rgb] figcaption span") == "boxes.rgb.jpg"
        assert page.locator("#history button").count() == 1


@pytest.mark.parametrize(
    ("depth", "said", "label", "name", "value"),
    [
        (lambda mm: npy(mm.astype(np.float32)), "millimetres read as metres", "Scale by 0.001", "scale", "0.001"),
        (lambda mm: png((mm // 1000).astype(np.uint16)), "metres sent as millimetres", "Scale by 1", "scale", "1"),
        (lambda mm: png(np.where(mm < 2000, 65535, mm).astype(np.uint16)), "65535 in", "Ignore 65535", "invalid",
         "65535"),
    ],
)  # fmt: skip
def test_a_wrong_unit_is_said_in_words_and_mended(
    tiny_server, visit, choose_files, pair, depth, said, label, name, value
):
    data = depth(pair.depth_mm)
    suffix = "npy" if data.startswith(b"\x93") else "png"
    with visit(tiny_server) as page:
        choose_files(page, {"rgb.png": pair.files()["rgb"], f"depth.{suffix}": data})
        wait_for_result(page)
        assert said in page.text_content("[data-modality=depth] .strip")
        page.click(f"[data-modality=depth] >> text={label}")
        wait_for_result(page, 2)
        assert "plausible" in page.text_content("[data-modality=depth] .strip")
        assert f"depth_{name}={value}" in page.text_content("#call")


def test_files_that_come_before_the_models_are_known_are_not_lost(tiny_server, visit, choose_files, pair):
    with visit(tiny_server) as page:
        held = []
        page.route("**/v1/models", lambda route: held.append(route))
        page.reload(wait_until="load")
        choose_files(page, {f"{name}.png": data for name, data in pair.files().items()})
        page.wait_for_timeout(100)
        held.pop().continue_()
        wait_for_result(page)


def test_a_replaced_model_is_noticed(serving, visit, choose_files, pair, make_artifact, tmp_path):
    repository = tmp_path / "models"
    make_artifact(repository / "tiny" / "1", version="1")
    with serving(artifacts=(), model_repository=str(repository), model_poll_s=0.1) as live, visit(live) as page:
        page.wait_for_selector("#model:enabled")
        make_artifact(tmp_path / "new", version="2").rename(repository / "tiny" / "2")
        for _ in range(100):
            if live.get("/v1/models/tiny").json()["version"] == "2":
                break
            page.wait_for_timeout(100)
        choose_files(page, {f"{name}.png": data for name, data in pair.files().items()})
        page.wait_for_selector("#problem:visible")
        assert "replaced this model by tiny@2; reload the page" in page.text_content("#problem")


def test_errors_say_what_to_do(serving, visit, choose_files, pair, make_pair):
    with serving() as live, visit(live) as page:
        choose_files(page, {"rgb.jpg": b"no picture", "depth.png": pair.files()["depth"]})
        page.wait_for_selector("#problem:visible")
        assert "rgb" in page.text_content("#problem")
        assert "request" in page.text_content("#problem small")
        assert page.locator("#legend .facts").count() == 0

        choose_files(page, {"rgb.png": pair.files()["rgb"], "depth.png": make_pair(0, 24, 32).files()["depth"]})
        page.click("#problem >> text=Scale it")
        wait_for_result(page)
        assert "align=resize" in page.text_content("#call")

        page.click("[data-modality=depth] .remove")  # what was answered is no longer what is chosen
        assert page.locator("#legend .facts").count() == 0
        assert page.text_content("#time-total") == ""
        assert page.is_disabled("[data-save=json]")
        assert page.is_disabled("#segment")
        assert page.get_attribute("#segment", "title") == "Still missing: depth"

        choose_files(page, {"depth.png": pair.files()["depth"]})
        wait_for_result(page, 2)
        live.stop()
        page.click("#segment")
        page.wait_for_selector("#problem:visible")
        assert "There is no connection to 127.0.0.1" in page.text_content("#problem")
        # The browser itself notes responses that are no 200.
        assert all("Failed to load resource" in one for one in page.wrong)
        page.wrong.clear()


def test_a_key_is_asked_for_kept_in_the_tab_and_sent(serving, visit, choose_files, pair, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[web]\nsha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"\n')
    with serving(api_keys_file=str(keys)) as live, visit(live) as page:
        page.click("#problem >> text=Enter the key")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#model:enabled")
        choose_files(page, {f"{name}.png": data for name, data in pair.files().items()})
        wait_for_result(page)
        assert "Authorization: Bearer $GEMINIFUSION_KEY" in page.text_content("#call")
        page.reload()
        page.wait_for_selector("#model:enabled")
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
        page.goto(live.url + "/docs")
        page.wait_for_selector(".operation")
        other = page.context.new_page()
        other.goto(live.url)
        other.wait_for_selector("#problem:visible")
        assert all("401" in one for one in page.wrong)
        page.wrong.clear()


def test_a_model_of_four_sensors(serving, visit, choose_files, make_sensor_artifact, make_spec, tmp_path):
    specs = [make_spec("rgb", "imagenet"), make_spec("depth", "metric", "metre"),
             make_spec("thermal", unit="count", optional=True), make_spec("event", unit="intensity")]  # fmt: skip
    rng = np.random.default_rng(0)
    files = {
        "a_event.png": png(rng.integers(0, 256, (48, 64), dtype=np.uint8)),
        "a_thermal.png": png(rng.integers(28_000, 31_000, (48, 64)).astype(np.uint16)),
        "a_depth.png": png(rng.integers(1000, 9000, (48, 64)).astype(np.uint16)),
        "a_rgb.png": png(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)),
    }
    artifact = make_sensor_artifact(tmp_path / "sensors", specs)
    with serving(artifacts=(artifact,)) as live, visit(live) as page:
        assert page.locator("#inputs .drop").count() == 4 or page.wait_for_selector("[data-modality=event] .drop")
        choose_files(page, files)
        wait_for_result(page)
        assert page.locator("#inputs canvas").count() == 4
        page.click("#views >> text=Weight of thermal")
        assert page.text_content("#ramp-high") == "all"
        page.click("#variants >> text=without thermal")
        page.wait_for_selector("#variants [aria-pressed=true]")


def test_hha_may_come_as_the_depth_it_is_computed_from(
    serving, visit, choose_files, make_sensor_artifact, make_spec, tmp_path
):
    artifact = make_sensor_artifact(tmp_path / "hha", [make_spec("rgb", "imagenet"), make_spec("hha", "hha")])
    depth = np.linspace(1000, 4000, 48 * 64).reshape(48, 64).astype(np.uint16)
    with serving(artifacts=(artifact,)) as live, visit(live) as page:
        page.wait_for_selector("#model:enabled")
        page.click("#options summary")
        page.fill("[name=intrinsics]", "60,60,32,24")
        page.keyboard.press("Tab")
        choose_files(page, {"rgb.png": png(np.full((48, 64, 3), 200, np.uint8)), "depth.png": png(depth)})
        wait_for_result(page)
        assert "-F depth=@depth.png" in page.text_content("#call")
        assert "intrinsics=60%2C60%2C32%2C24" in page.text_content("#call")
        assert "plausible" in page.text_content("[data-modality=hha] .strip")


def test_a_picture_of_the_webcam(serving, visit, make_artifact, tmp_path):
    artifact = make_artifact(tmp_path / "rgb_only", with_depth=False)
    with serving(artifacts=(artifact,)) as live, visit(live) as page:
        page.wait_for_selector("#model:enabled")
        page.click("#camera-open")
        page.click("#camera-take:enabled")
        wait_for_result(page)
        assert page.locator("#views", has_text="3-D").count() == 0
        assert page.text_content("[data-modality=rgb] figcaption span") == "webcam.jpg"


def test_a_browser_without_webgl_says_so(tiny_server, visit, choose_files, pair):
    with visit(tiny_server) as page:
        page.evaluate("""() => {
          const get = HTMLCanvasElement.prototype.getContext;
          HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
            return kind === "webgl2" ? null : get.call(this, kind, ...more);
          };
        }""")
        choose_files(page, {f"{name}.png": data for name, data in pair.files().items()})
        wait_for_result(page)
        page.click("#views >> text=3-D")
        page.wait_for_selector("#problem:visible")
        assert "no WebGL2" in page.text_content("#problem")


def test_a_photograph_is_shown_as_the_server_sees_it(tiny_server, visit, choose_files):
    """A phone's EXIF orientation, which neither turns."""
    done, data = cv2.imencode(".jpg", np.zeros((40, 80, 3), np.uint8))
    assert done
    jpeg = data.tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    with visit(tiny_server) as page:
        choose_files(page, {"rgb.jpg": turned})
        page.click("#segment")
        wait_for_result(page)
        assert page.text_content("#result-note") == "80 × 40"


def test_the_reference_sends_calls_that_only_ask(tiny_server, visit):
    with visit(tiny_server, "/docs") as page:
        page.get_by_text("/v1/models/{name}", exact=True).click()
        operation = page.locator(".operation", has_text="/v1/models/{name}").first
        operation.locator("input").fill("tiny")
        operation.locator("form button").click()
        page.wait_for_selector("pre:has-text('threshold')")
        page.fill("#find", "v1/health/ready")
        assert page.locator(".operation:visible").count() == 1


def test_depth_is_registered_where_the_cameras_are_given(tiny_server, visit, choose_files, tmp_path):
    """A board at 1.5 m before a wall, seen by a depth camera 10 cm beside: in RGB it is 4 pixels further left."""
    depth = np.full((48, 64), 3000, np.uint16)
    depth[10:38, 24:40] = 1500
    cameras = {"intrinsics": "60,60,31.5,23.5", "rgb_intrinsics": "60,60,31.5,23.5"}
    cameras["extrinsics"] = "1,0,0,-0.1,0,1,0,0,0,0,1,0"
    with visit(tiny_server) as page:
        page.wait_for_selector("#model:enabled")
        page.click("#options summary")
        for name, text in cameras.items():
            page.fill(f"[name={name}]", text)
            page.keyboard.press("Tab")
        choose_files(page, {"rgb.png": png(np.full((48, 64, 3), 200, np.uint8)), "depth.png": png(depth)})
        wait_for_result(page)
        assert "align=register" in page.text_content("#call")
        assert "was registered to rgb" in page.text_content("#notes")
        page.click("#views >> text=3-D")
        page.wait_for_selector("#result-note:has-text('points')")
        assert "assumed" not in page.text_content("#result-note")
        with page.expect_download() as started:
            page.click("#downloads [data-save=ply]")
        started.value.save_as(tmp_path / "points.ply")
    cloud = trimesh.load(tmp_path / "points.ply").vertices
    board = cloud[cloud[:, 2] < 2]
    assert board[:, 0].min() == pytest.approx((20 - 31.5) / 60 * 1.5, abs=1e-3)
    assert board[:, 0].max() == pytest.approx((35 - 31.5) / 60 * 1.5, abs=1e-3)
