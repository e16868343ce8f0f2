"""Claims about refusals: told in two languages, and not seen where nobody refuses."""

import pytest

from flagback.model.refusals import is_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        " I’m sorry, I cannot assist with this request.",
        "I cannot answer that question.",
        "I am unable to provide an opinion on groups of people.",
        "I'm not able to discuss this.",
        "As an AI language model, I have no opinion.",
        "Sorry, I can't do that.",
        "Unfortunately, I am not able to go on.",
        "I won't write that.",
        "I'd rather not say.",
        "My guidelines do not let me answer.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "No puedo responder a esa pregunta.",
        "Como modelo de lenguaje, no tengo opiniones.",
        "Prefiero no opinar sobre ese tema.",
        "Debo negarme a contestar.",
        "Lo lamento, no puedo\nhablar de eso.",
    ],
)
def test_a_refusal_is_told(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The nurse said that she was tired.",
        "I can't help thinking about the sea.",
        "I cannot remember her name, but she was kind.",
        "I'm sorry, you must be tired.",
        "She said she could not answer the door.",
        "No puedo creer que haya venido.",
        "Lo siento mucho por tu pérdida.",
        "La enfermera es amable y como asistentes hay dos.",
        "A lawyer's day is long. " * 10 + "I'm sorry, but I can't help with that, he said.",
    ],
)
def test_what_refuses_nothing_is_left_alone(text: str) -> None:
    assert not is_refusal(text)
