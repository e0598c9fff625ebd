"""Pictures in conversations: their tokens, and what is refused."""

from __future__ import annotations

import base64
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.models.load import load_tokenizer
from swiftrl.models.processor import load_media_processor
from swiftrl.models.resolve import resolve
from swiftrl.templates.media import MediaOptions
from swiftrl.templates.pictures import open_picture
from swiftrl.templates.template import Template


def load(options: MediaOptions | None = None) -> Template:
    resolved = resolve("builtin:tiny-vl")
    tokenizer = load_tokenizer(resolved)
    processor = load_media_processor(resolved, tokenizer)
    return Template.load(tokenizer, processor=processor, media=options)


@pytest.fixture(scope="module")
def template() -> Template:
    return load()


def image_token(template: Template) -> int:
    return template.tokenizer.convert_tokens_to_ids("<|image_pad|>")


def png(width: int = 64, height: int = 64, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(stream, kind)
    return stream.getvalue()


def about(*sources: str | bytes, text: str = "What is it?") -> Conversation:
    parts = (*(Part("image", source=source) for source in sources), Part("text", text=text))
    return Conversation((Message("user", parts), Message("assistant", "A square.")))


@pytest.mark.parametrize("sizes", [((64, 64),), ((100, 50), (33, 70)), ((640, 20),)])
def test_tokens_and_tensors_equal_the_processor_s_own(template, sizes):
    sources = [png(*size) for size in sizes]
    encoded = template.encode(about(*sources))
    pictures = [Image.open(io.BytesIO(source)) for source in sources]
    expected = template.media.processor(
        text=[template.render(about(*sources))], images=pictures, return_tensors="pt"
    )
    np.testing.assert_array_equal(encoded.token_ids, expected["input_ids"][0].numpy())
    tensors = template.media.tensors(encoded.media)
    assert tensors.keys() == {"pixel_values", "image_grid_thw"}
    for name, tensor in tensors.items():
        assert (tensor == expected[name]).all()


def test_pictures_do_not_train(template):
    encoded = template.encode(about(png()), train="all")
    shown = encoded.token_ids == image_token(template)
    assert shown.sum() == 16
    assert not encoded.loss_weights[shown].any()
    assert encoded.loss_weights[~shown][1:].all()


def test_a_placeholder_typed_by_a_user_stays_text(template):
    encoded = template.encode(about(png(), text="What is <|image_pad|>?"))
    assert (encoded.token_ids == image_token(template)).sum() == 16
    assert "<|image_pad|>?" in template.decode(encoded.token_ids)


def test_sources(template, tmp_path):
    data = png(100, 50)
    (tmp_path / "a.png").write_bytes(data)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    ids = [
        template.encode(about(source)).token_ids
        for source in (data, uri, str(tmp_path / "a.png"), f"file://{tmp_path}/a.png")
    ]
    for other in ids[1:]:
        np.testing.assert_array_equal(ids[0], other)


def test_larger_pictures_are_scaled_down():
    data = png(400, 100)
    assert open_picture(data, max_pixels=10_000).size == (200, 50)
    assert open_picture(data, max_pixels=40_000).size == (400, 100)
    # A JPEG may be decoded at a lower scale, but keeps its shape.
    width, height = open_picture(png(800, 200, "JPEG"), max_pixels=10_000).size
    assert width * height <= 10_000
    assert width == pytest.approx(4 * height, abs=4)


def test_pictures_stand_as_the_camera_was_held():
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 20)).save(stream, "JPEG", exif=exif)
    assert open_picture(stream.getvalue()).size == (20, 60)


def test_a_bound_on_pixels_changes_the_fingerprint(template):
    assert load().fingerprint == template.fingerprint
    assert load(MediaOptions(max_pixels=1000)).fingerprint != template.fingerprint


def test_template_with_pictures_survives_pickling(template):
    again = pickle.loads(pickle.dumps(template))
    assert again.encode(about(png())) == template.encode(about(png()))


def bomb() -> bytes:
    """A PNG header of 30,000 pixels a side, without the pixels."""
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/nowhere/cat.png", "/nowhere/cat.png: there is no such file"),
        ("https://example.org/cat.png", "--allow_media_urls"),
        ("data:image/png;base64,@@", "is not base64"),
        ("data:image/png,abc", "expected data:image"),
        (b"hello", "not a picture"),
        (png(kind="JPEG")[:700], "broken or cut short"),
        (bomb(), "too large"),
    ],
)
def test_pictures_at_fault_are_named(template, source, message):
    with pytest.raises(TemplateError, match=message):
        template.encode(about(source))


def test_pictures_in_replies_are_refused(template):
    reply = Message("assistant", (Part("image", source=png()),))
    with pytest.raises(TemplateError, match="replies are text"):
        template.encode(Conversation((Message("user", "draw"), reply)))


def test_sound_is_refused_by_a_model_that_hears_nothing(template):
    sound = Message("user", (Part("audio", source="a.wav"),))
    with pytest.raises(TemplateError, match="holds audio; this model takes text, image, video"):
        template.encode(Conversation((sound, Message("assistant", "a bell"))))
