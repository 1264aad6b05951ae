"""Images come from where they may, and from nowhere else."""

import struct

import pytest

from geminifusion import ClientError
from geminifusion.labeling.task_images import TaskImages


def place(site):
    return site.url.removeprefix("http://")


def test_every_allowed_place_gives_the_same_bytes(site, pair, inline):
    root = pair.rgb_path.parent
    with TaskImages(hosts=[place(site)], files=root) as images:
        for address in (
            f"{site.url}/open/room.png",
            f"{site.url}/to?/open/room.png",
            "/data/local-files/?d=room.png",
            inline,
        ):
            assert images.read(address) == pair.rgb_path.read_bytes()


@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_label_studio_gets_its_token_and_nobody_else(site, pair, kind):
    token = site.tokens[kind]
    other = f"localhost:{site.server_address[1]}"
    with TaskImages(label_studio=site.url, token=token, hosts=[other]) as images:
        for _ in range(2):
            assert images.read("/data/upload/1/room.png") == pair.rgb_path.read_bytes()
        assert [path for path, _ in site.asked].count("/api/token/refresh/") == (kind == "personal")
        site.asked.clear()
        images.read(f"http://{other}/open/room.png")
        images.read(f"/to?http://{other}/open/room.png")
        with pytest.raises(ClientError, match=r"example\.org:80 is no host"):
            images.read("//example.org/a.png")
        assert [key for path, key in site.asked if path == "/open/room.png"] == [None, None]


REFUSED = {
    "another host": ("http://example.org/a.png", "allow it with --allow-host example.org:80"),
    "another port": ("http://127.0.0.1:1/a.png", "no host that images are read from"),
    "a user before one": ("http://127.0.0.1@example.org/a.png", "example.org:80 is no host"),
    "a backslash before one": ("http://example.org\\@127.0.0.1:1/a.png", "127.0.0.1:1 is no host"),
    "an address without scheme": ("//example.org/a.png", "--label-studio"),
    "a redirect to one": ("{site}/to?http://169.254.169.254/latest", "169.254.169.254:80 is no host"),
    "a loop": ("{site}/to?/to?/to?/to?/to", "redirects more than 3 times"),
    "a file": ("file:///etc/passwd", "no address that is read"),
    "cloud storage": ("s3://bucket/a.png", "no address that is read"),
    "a parent folder": ("/data/local-files/?d=../../etc/passwd", "outside"),
    "an absolute path": ("/data/local-files/?d=/etc/passwd", "cannot be read"),
    "the folder itself": ("/data/local-files/?d=", "no regular file"),
    "a NUL": ("/data/local-files/?d=a%00b", "cannot be read"),
    "an upload": ("/data/upload/1/room.png", "--label-studio"),
    "nothing there": ("{site}/open/none.png", "responded 404, expected 200; check the address"),
    "no token": ("{site}/data/upload/room.png", "responded 401, expected 200; set the token"),
    "no port": ("http://127.0.0.1:x/", "is no usable address"),
    "damaged base64": ("data:image/png;base64,@@@", "damaged base64"),
    "other text": ("data:image/svg+xml,<svg/>", "not in base64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_places_are_refused_in_one_sentence(site, tmp_path, case):
    address, said = REFUSED[case]
    with (
        TaskImages(hosts=[place(site)], files=tmp_path) as images,
        pytest.raises(ClientError, match=said) as refusal,
    ):
        images.read(address.format(site=site.url))
    assert "\n" not in str(refusal.value)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path, pair):
    (tmp_path / "a.png").symlink_to(pair.rgb_path)
    with TaskImages(files=tmp_path) as images, pytest.raises(ClientError, match="outside"):
        images.read("/data/local-files/?d=a.png")


def test_size_and_pixels_have_limits(site, pair, inline):
    with TaskImages(hosts=[place(site)], files=pair.rgb_path.parent, max_bytes=1000) as images:
        for address in (f"{site.url}/open/room.png", "/data/local-files/?d=room.png", inline):
            with pytest.raises(ClientError, match="1000"):
                images.read(address)
    bomb = bytearray(pair.rgb_path.read_bytes())
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    site.files["bomb.png"] = bytes(bomb)
    with TaskImages(hosts=[place(site)]) as images, pytest.raises(ClientError, match="3600000000 pixels"):
        images.read(f"{site.url}/open/bomb.png")


@pytest.mark.parametrize("host", ["", "http://a", "a/b", "user@a", "a:x"])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(ClientError, match="give host or host:port"):
        TaskImages(hosts=[host])


def test_a_token_that_label_studio_does_not_take_is_told(site):
    with (
        TaskImages(label_studio=site.url, token="eyJ-expired") as images,
        pytest.raises(ClientError, match="responded 401 to the personal access token; issue a new one"),
    ):
        images.read("/data/upload/1/room.png")
