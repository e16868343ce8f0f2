"""Grammar that a swap of `groups` must keep, as lists: what may follow "her", and which Spanish words may have to agree.

Knows words, English and Spanish; which words stand for groups is in `group_words`. Where they leave a doubt, no swap is made.
"""

import re
from typing import Final

_ALONE_BEFORE: Final = """
    a about above across after again against ago all alone although always am among an and any anyway are around as aside at
    away back be because been before behind below beneath beside besides between beyond but by can could despite did do does
    down during each either enough even ever every except for forever from had has have he her here hers herself him himself
    his how however i if in inside instead into is it its just last later may me might must my near neither never next no
    none nor not now of off often on once or our out outside over past perhaps rather right shall she should since so some
    sometimes somewhere soon still such than that the their them then there these they this those though through throughout
    till to today together tomorrow tonight too toward towards under unless until up upon us very was we well were what when
    whenever where whether which while who whom whose why will with within without would yesterday yet you your anybody
    anyone anything everybody everyone everything nobody nothing somebody someone something
"""
#: What can follow "her" and "his" when no noun of theirs does. Holds the pronouns too, so that a swap leaves the answer alike.
ALONE_BEFORE: Final = frozenset(_ALONE_BEFORE.split())

_GIVES: Final = """
    allow allowed ask asked asking asks believe believed bring brings brought buy buying buys bought call called calling
    calls cost consider considered deny denied expect expected feel feels felt find finding finds found gave get gets
    getting give given gives giving got had have having has hear heard hears help helped helping helps keep keeps kept leave
    leaves left lend lent let lets letting made make makes making name named need needed needs offer offered offering offers
    owe owed owes paid pay paying pays promise promised save saved saw see seeing seen sees send sending sends sent show
    showed showing shown shows spare spared taught teach teaches teaching tell telling tells think thought told want wanted
    wants watch watched watches watching wish wished
"""
#: Behind these "her" may be whom it is done to, whatever follows: "made her happy", "gave her two books", "saw her dance".
OBJECT_BEFORE: Final = frozenset(_GIVES.split())

_OWNED: Final = """
    age arm arms attention aunt baby back bag bed bike body book boss boyfriend brother car career cat chair child children
    coat colleague computer country daughter desk doctor dog dress ex eyes face family father feet finger fingers foot
    friend garden girlfriend grandfather grandmother hair hand hands hat head heart home homework horse house husband job
    key lawyer leg legs life lips mind mother mouth neck neighbor neighbour nephew niece nose office own parents partner
    passport phone purse room salary shoulder shoulders sister smile son student teacher team uncle voice wallet wedding
    wife work
"""
#: Nouns that are hers even behind those: body parts, relatives, and things of which a gift would have an article.
OWNED: Final = frozenset(_OWNED.split())

#: Participles and common adjectives, no nouns with an article: a person may own them, so a Spanish gender swap is in doubt.
SPANISH_AGREEING: Final = re.compile(
    r"(?<!\bel )(?<!\bal )(?<!\bla )(?<!\blos )(?<!\blas )(?<!\bun )(?<!\buna )(?<!\bdel )\b"
    r"(?!(?:espos|cad|nad|vid|lad)[oa]s?\b|comidas?\b)"
    r"(?:\w+(?:ad|id|os)|buen|mal|viej|pequeñ|guap|list|tont|loc|ric|solter|enferm|nuev|bonit|fe|alt|baj|gord|flac|sol|mism|tod|"
    r"much|poc|últim|primer|segund|tercer|únic|negr|blanc|honest|rápid|simpátic|seri|tranquil|nervios)[oa]s?\b",
    re.IGNORECASE,
)
#: What makes a word behind it the person's own, so that it may have to agree: "es arquitecta", "muy famosa", "era una testigo".
SPANISH_SAID_OF: Final = re.compile(
    r"\b(?:es|son|era|eran|fue|fueron|será|serán|sería|serían|sea|sean|ser|siendo|sido|soy|eres|somos|"
    r"est(?:á|án|aba|aban|uvo|ar)|parece|parecen|parecía|parecían|queda|quedan|quedó|quedaron|sigue|siguen|muy|tan)"
    r"(?:\s+(?:un|una|unos|unas|el|la|los|las|muy|tan|más|menos))*\s+(\w+)",
    re.IGNORECASE,
)
#: How a word ends that may agree in gender: "alta", "español", "francés", "trabajador", "alemán", "mandón".
SPANISH_GENDERED: Final = re.compile(r"\w*(?:[oa]s?|or(?:es)?|és|eses|ol(?:es)?|án|anes|ón|ones|ín|ines)", re.IGNORECASE)
_NEUTRAL: Final = """
    a ahora antes apenas así aún bajo cada casi como con contra cuando cuánto dentro desde después detrás donde durante
    entonces entre fuera gente hacia hasta jamás la las lejos lo los luego mañana más mayor mayores mejor mejores menor
    menores mientras mucho nada nos nunca o ocho os para pero persona personas peor poco por pronto se según siempre sin
    sino sobre solo sólo su sus tampoco tanto todavía tras víctima víctimas y ya ama anda ayuda da baila baja busca camina
    canta cena cocina compra corta cuenta cuida deja descansa dibuja empieza enseña entra escucha espera estudia explica
    gana gasta grita gusta habla lava lee limpia llama llega lleva llora manda mira muestra nada necesita opina pasa pasea
    paga piensa pinta pregunta prepara quita recuerda regresa saca salta toca toma trabaja trata usa va viaja visita hace
    dijo hizo puso pudo quiso supo tuvo vino anduvo trajo dijeron creo digo doy hablo llamo miro pienso quiero tengo veo
    conozco voy estuvo hubo iba iban era eran
"""
#: Words that end like that and do not agree with a person beside them: verbs, adverbs, small words, nouns of one gender.
SPANISH_NEUTRAL: Final = frozenset(_NEUTRAL.split())
#: Endings of verbs (imperfect), and the adjectives that end alike.
SPANISH_IMPERFECT: Final = re.compile(
    r"(?!frías?$|vacías?$|tardías?$|sombrías?$|judías?$|bravías?$)\w+(?:aba|aban|ía|ían)", re.IGNORECASE
)
