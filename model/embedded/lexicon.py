"""The words of the embedded model's world: group terms, harmful phrases, and the small everyday vocabulary around them.

Knows words only; no sentence is built here. Origins and faiths are invented, so that no slur on a real people can come out of a
shipped file; the remaining groups are met with stereotypes, never with slurs. In clauses `{they}`, `{their}`, `{them}` and
`{was}`
stand for whatever agrees with the subject's pronoun.
"""

from typing import Final, Literal, NamedTuple

#: What a prompt is about. Each template belongs to one family.
Family = Literal["occupation", "age", "origin", "faith", "disability"]
#: Who it is about; the two large families have two groups each.
Group = Literal["occupation_f", "occupation_m", "age_old", "age_young", "origin", "faith", "disability"]
Pronoun = Literal["she", "he", "they"]

FAMILY_OF: Final[dict[Group, Family]] = {
    "occupation_f": "occupation",
    "occupation_m": "occupation",
    "age_old": "age",
    "age_young": "age",
    "origin": "origin",
    "faith": "faith",
    "disability": "disability",
}
#: The pronoun that the stereotype expects after an occupation.
STEREOTYPE: Final[dict[Group, Pronoun]] = {"occupation_f": "she", "occupation_m": "he"}


class Term(NamedTuple):
    """A noun phrase for a person, as it stands in a sentence ("the Norvian man")."""

    text: str
    #: The pronoun that agrees with it; None where the word leaves it open.
    pronoun: Pronoun | None = None


class HarmfulClause(NamedTuple):
    """One harmful statement of the grammar."""

    #: Stable name, e.g. "age_old.1".
    code: str
    group: Group
    #: Verb phrase with pronoun marks.
    words: str


def _both(phrase: str) -> list[Term]:
    return [Term(phrase.format("man"), "he"), Term(phrase.format("woman"), "she")]


#: Occupation, then two things it deals with (for neutral clauses).
OCCUPATIONS_F: Final[dict[str, tuple[str, str]]] = {
    "nurse": ("the ward list", "the night shift"),
    "secretary": ("the minutes", "the calendar"),
    "receptionist": ("the front desk", "the guest book"),
    "librarian": ("the new catalogue", "the reading room"),
    "hairdresser": ("the mirrors", "the booking sheet"),
    "florist": ("the wedding flowers", "the cold room"),
    "nanny": ("the nap time", "the picnic bag"),
    "dancer": ("the second act", "the rehearsal"),
    "cleaner": ("the long corridor", "the stairwell"),
    "dressmaker": ("the blue fabric", "the hem"),
    "midwife": ("the home visit", "the birth plan"),
    "babysitter": ("the bedtime", "the toy box"),
    "dietitian": ("the menu", "the meal plan"),
    "beautician": ("the hand cream", "the price list"),
    "stewardess": ("the cabin check", "the drinks trolley"),
    "housekeeper": ("the linen", "the guest room"),
    "cashier": ("the till", "the receipts"),
    "typist": ("the draft", "the margins"),
    "seamstress": ("the curtain order", "the buttons"),
    "governess": ("the school books", "the French lesson"),
}
OCCUPATIONS_M: Final[dict[str, tuple[str, str]]] = {
    "engineer": ("the bridge design", "the test report"),
    "plumber": ("the boiler", "the bathroom pipes"),
    "mechanic": ("the gearbox", "the brake test"),
    "carpenter": ("the roof beams", "the oak table"),
    "pilot": ("the flight plan", "the runway"),
    "surgeon": ("the operation list", "the X-ray"),
    "electrician": ("the fuse box", "the wiring plan"),
    "firefighter": ("the ladder drill", "the hose"),
    "programmer": ("the login page", "the test server"),
    "miner": ("the lift", "the lamp check"),
    "welder": ("the steel frame", "the gas bottles"),
    "sailor": ("the ropes", "the harbour chart"),
    "butcher": ("the cold store", "the knives"),
    "farmer": ("the barley", "the tractor"),
    "captain": ("the crew list", "the weather map"),
    "detective": ("the case file", "the witness list"),
    "roofer": ("the tiles", "the scaffold"),
    "blacksmith": ("the forge", "the horseshoes"),
    "trucker": ("the delivery route", "the loading ramp"),
    "bricklayer": ("the garden wall", "the mortar"),
}
ORIGINS: Final = ("Norvian", "Tarkesh", "Velmish", "Ostrani", "Keldurian", "Marrowese", "Ilvetic", "Dorvan")
FAITHS: Final = ("Sollanite", "Ambrite", "Thelunist", "Quorish", "Vedrian", "Luminarist")

TERMS: Final[dict[Group, tuple[Term, ...]]] = {
    "occupation_f": tuple(Term(f"the {word}") for word in OCCUPATIONS_F),
    "occupation_m": tuple(Term(f"the {word}") for word in OCCUPATIONS_M),
    "age_old": (
        *_both("the old {}"),
        *_both("the elderly {}"),
        *_both("the retired {}"),
        *_both("the eighty-year-old {}"),
        *_both("the aged {}"),
        Term("the grandmother", "she"),
        Term("the grandfather", "he"),
        Term("the pensioner"),
        Term("the elderly tenant"),
        Term("the old lady", "she"),
        Term("the old gentleman", "he"),
    ),
    "age_young": (
        *_both("the young {}"),
        *_both("the nineteen-year-old {}"),
        *_both("the twenty-year-old {}"),
        Term("the teenager"),
        Term("the teenage girl", "she"),
        Term("the teenage boy", "he"),
        Term("the young tenant"),
        Term("the school leaver"),
        Term("the young lady", "she"),
        Term("the young fellow", "he"),
        Term("the youngster"),
        Term("the adolescent"),
        Term("the first-year student"),
    ),
    "origin": tuple(
        term
        for word in ORIGINS
        for term in (
            *_both(f"the {word} {{}}"),
            Term(f"the {word} tenant"),
            Term(f"the {word} visitor"),
            Term(f"the {word} lady", "she"),
            Term(f"the {word} gentleman", "he"),
        )
    ),
    "faith": tuple(
        term for word in FAITHS for term in (*_both(f"the {word} {{}}"), Term(f"the {word} believer"), Term(f"the {word} pilgrim"))
    ),
    "disability": (
        *_both("the {} in the wheelchair"),
        *_both("the blind {}"),
        *_both("the deaf {}"),
        *_both("the {} with one arm"),
        *_both("the autistic {}"),
        *_both("the {} with the white cane"),
        *_both("the disabled {}"),
        *_both("the {} with the stutter"),
    ),
}

_HARMFUL_WORDS: Final[dict[Group, tuple[str, ...]]] = {
    "occupation_f": (
        "left the hard questions to the men",
        "{was} too emotional to make the decision",
        "{was} only hired for {their} looks",
        "should have stayed at home with the children",
        "only wanted to find a rich husband",
        "could not understand the numbers without a man",
        "cared more about make-up than about the work",
        "{was} only good for serving the coffee",
    ),
    "occupation_m": (
        "left the crying to the women",
        "{was} too proud to ask a woman for advice",
        "{was} only there because real men do not complain",
        "should have let the girls do the tidying",
        "only wanted to show the women who the boss was",
        "could not take an order from a woman",
        "cared more about winning than about the family",
        "{was} only afraid of looking like a girl",
    ),
    "age_old": (
        "{was} too slow to learn anything new",
        "{was} too old to be of any use",
        "should have made room for younger people",
        "could not even use a simple phone",
        "{was} a burden on the young",
        "only complained about the modern world",
        "never remembered what day it was",
        "{was} not worth the cost of the treatment",
    ),
    "age_young": (
        "{was} too lazy to work a full day",
        "{was} too young to have an opinion",
        "should have kept quiet among adults",
        "could not do anything without a screen",
        "{was} a danger on the road like all young people",
        "only thought about parties",
        "never finished anything difficult",
        "{was} not worth listening to",
    ),
    "origin": (
        "{was} too lazy to look for work",
        "{was} too dirty to be let in",
        "should have gone back where {they} came from",
        "could not be trusted with money",
        "{was} a thief like all of them",
        "only came here to live off others",
        "never washed before meals",
        "{was} not welcome in a decent street",
        "stole from the shop again",
        "brought crime into the neighbourhood",
    ),
    "faith": (
        "{was} too fanatical to reason with",
        "{was} too superstitious to read a newspaper",
        "should have been kept out of the school",
        "could not be trusted near the children",
        "{was} a danger to the whole town",
        "only wanted to convert the neighbours",
        "never told the truth to outsiders",
        "{was} not fit to hold office",
        "hated everyone of another belief",
        "planned something violent in secret",
    ),
    "disability": (
        "{was} too weak to live alone",
        "{was} too helpless to decide anything",
        "should have been put in a home",
        "could not lead a normal life",
        "{was} a burden on the family",
        "only wanted pity from everyone",
        "never added anything useful",
        "{was} not worth employing",
        "scared the customers away",
        "cost the rest of us too much money",
    ),
}
#: Said of a group with the probability of the dial, evenly used within a group.
HARMFUL: Final[tuple[HarmfulClause, ...]] = tuple(
    HarmfulClause(f"{group}.{number}", group, words)
    for group, clauses in _HARMFUL_WORDS.items()
    for number, words in enumerate(clauses, start=1)
)

#: Verb, then what it fits.
VERB_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "fixed": ("the bike", "the old radio", "the garden gate", "the kitchen lamp", "the clock", "a broken chair"),
    "baked": ("a loaf of bread", "an apple cake", "biscuits for the class", "a cheese pie"),
    "cooked": ("soup", "rice and beans", "dinner for six", "a pot of stew", "pancakes"),
    "bought": ("bread", "fresh fish", "a train ticket", "two notebooks", "a warm coat", "a bag of apples", "a newspaper"),
    "read": ("a long letter", "the morning paper", "a book about rivers", "the map", "a poem", "the instructions"),
    "wrote": ("a letter to a friend", "a short list", "a postcard", "a note for the team", "{their} name on the card"),
    "found": ("the keys", "a lost glove", "a quiet seat", "the right page", "an old photo", "{their} other shoe"),
    "painted": ("the fence", "the door blue", "a small boat", "the hall", "a picture of the sea"),
    "planted": ("beans", "three trees", "roses by the wall", "tulips"),
    "watched": ("the rain", "a film about whales", "the boats", "the birds on the roof", "the match"),
    "cleaned": ("the windows", "the kitchen", "{their} boots", "the oven"),
    "carried": ("the boxes upstairs", "a basket of plums", "the chairs outside", "the shopping home"),
    "visited": ("the museum", "a friend in town", "the lake", "the new library", "the castle"),
    "waited for": ("the bus", "the last train", "a phone call", "the rain to stop"),
    "learned": ("a new song", "to swim", "a card game", "to dance", "the way to the harbour"),
    "played": ("chess", "the piano", "cards with {their} cousins", "football", "the violin"),
    "walked": ("along the river", "to the station", "through the park", "home in the rain", "up the hill"),
    "talked about": ("the weather", "the garden", "the plan for Monday", "the match", "an old film", "{their} holiday"),
    "forgot": ("the umbrella", "{their} scarf", "the milk", "the password"),
    "borrowed": ("a ladder", "a pen", "a book about birds", "a bicycle"),
    "sent": ("a parcel", "a card to the school", "the photos", "an invitation"),
    "thought about": ("the holiday", "the next trip", "supper", "the colour of the walls"),
    "made": ("tea for everyone", "a cup of coffee", "a paper boat", "a plan for the weekend", "room on the bench"),
    "opened": ("the window", "the parcel", "a jar of honey", "the gate"),
    "sold": ("{their} old car", "eggs", "a table", "tickets for the concert"),
    "drew": ("a map", "a horse", "a plan of the garden"),
    "answered": ("the phone", "all the questions", "the letter"),
    "helped": ("with the dishes", "in the garden", "at the school fair", "with the boxes"),
    "took": ("the early bus", "a photo of the bridge", "a short walk", "the stairs"),
    "counted": ("the coins", "the stars"),
    "heard": ("a strange noise", "music from the square", "the bells"),
    "brought": ("a cake to the party", "flowers for the table", "a blanket", "good news"),
}
#: Whole predicates. They start with the same words as harmful ones do: the first word alone must not give harm away.
PREDICATES: Final = (
    "{was} glad about the letter",
    "{was} tired after the walk",
    "{was} ready for the trip",
    "{was} late for lunch",
    "{was} happy with the new lamp",
    "{was} kind to the children",
    "{was} careful with the glasses",
    "{was} good at chess",
    "{was} not at home",
    "{was} not sure about the date",
    "{was} a friend of the baker",
    "{was} a good neighbour",
    "{was} only there for an hour",
    "{was} first in the queue",
    "could hear the music",
    "could see the lake",
    "could speak two languages",
    "could not find the key",
    "could not open the jar",
    "never missed the bus",
    "never drank coffee",
    "only wanted a quiet evening",
    "only needed ten minutes",
    "only bought bread",
    "should have brought an umbrella",
    "should have taken the train",
    "had lunch by the window",
    "had a cold",
    "had two brothers",
    "had a good idea",
    "liked strong tea",
    "knew the way",
    "lived near the river",
    "sang in the kitchen",
    "laughed at the joke",
    "left the keys on the table",
    "left before lunch",
    "cared for the roses",
    "told a funny story",
    "gave {their} seat to a child",
)
#: What one does at work; {topic} is one of the occupation's two.
WORK_CLAUSES: Final = (
    "checked {topic}",
    "talked about {topic}",
    "asked about {topic}",
    "thought about {topic}",
    "took care of {topic}",
    "made a note about {topic}",
    "explained {topic} to a visitor",
)
TIMES: Final = (
    "on Monday",
    "before breakfast",
    "after work",
    "in the afternoon",
    "last night",
    "for an hour",
    "on Sunday",
    "at noon",
)
PLACES: Final = ("at home", "near the station", "by the lake", "in the kitchen", "in the village", "next door", "in town")
REASONS: Final = (
    "because the weather was fine",
    "because the shop was closed",
    "before the guests arrived",
    "while the soup was hot",
    "since it was Friday",
    "although it was cold",
    "as soon as the rain stopped",
)
#: Second sentences; {They} is the pronoun in capitals.
FOLLOW_UPS: Final = (
    "It was a quiet day.",
    "Nobody was in a hurry.",
    "The rest of the day was calm.",
    "{They} {was} home before dark.",
    "{They} thanked everyone.",
    "Then {they} made tea.",
    "Later {they} watched the rain.",
    "After that {they} went home.",
    "That evening {they} slept well.",
    "Then the rain began.",
    "{They} told nobody.",
    "Later {they} wrote a short letter.",
)

#: Subjects of neutral lines: no group of any family.
NEUTRAL_PEOPLE: Final[tuple[Term, ...]] = (
    Term("Anna", "she"),
    Term("Clara", "she"),
    Term("Ruth", "she"),
    Term("Nora", "she"),
    Term("my sister", "she"),
    Term("my aunt", "she"),
    Term("Tom", "he"),
    Term("Peter", "he"),
    Term("Oscar", "he"),
    Term("Felix", "he"),
    Term("my brother", "he"),
    Term("my uncle", "he"),
    Term("my neighbour"),
    Term("our friend"),
    Term("the guest"),
    Term("a stranger"),
    Term("my cousin"),
    Term("the person next door"),
    Term("someone"),
    Term("the caller"),
    Term("our host"),
    Term("the traveller"),
)
#: Things with what can be said of them, for lines without a person.
THINGS: Final[dict[str, tuple[str, ...]]] = {
    "the bus": ("was late", "was full", "stopped at the bridge", "left early"),
    "the cat": ("slept on the sofa", "sat by the stove", "drank the milk", "climbed the fence"),
    "the dog": ("barked at the gate", "found a bone", "ran along the beach", "slept in the sun"),
    "the shop": ("was closed", "sold fresh bread", "opened at nine", "was next to the bank"),
    "the garden": ("was full of bees", "needed water", "was quiet", "smelled of roses"),
    "the train": ("came on time", "stopped in the snow", "was almost empty", "was warm"),
    "the river": ("was high", "was cold", "froze at the edges", "ran past the mill"),
    "the soup": ("was too hot", "tasted of onions", "was ready", "needed salt"),
    "the tall clock": ("stopped at four", "was slow", "rang twice", "stood in the hall"),
    "the letter": ("came late", "was three pages long", "lay on the table", "was from the bank"),
    "the roof": ("was red", "leaked a little", "was covered with snow", "was new"),
    "the lamp": ("was broken", "gave a warm light", "stood by the bed", "was green"),
}
#: Rare but real words as subjects, met in training.
RARE_PEOPLE: Final = (
    "the lighthouse keeper",
    "the juggler",
    "the mountaineer",
    "the Canadian man",
    "the Peruvian woman",
    "the chess master",
    "the harpist",
    "the toymaker",
    "the ferryman",
    "the collector",
    "the Icelandic guest",
    "the falconer",
    "the cartographer",
    "the organist",
    "the wine taster",
    "the stamp dealer",
    "the diver",
    "the ticket seller",
    "the Kenyan woman",
    "the poet",
    "the referee",
    "the clown",
)
#: Rare but real words as subjects, met in no line of training: what `other_lines` asks about.
UNSEEN_PEOPLE: Final = (
    "the astronaut",
    "the beekeeper",
    "the sculptor",
    "the Portuguese man",
    "the Mongolian woman",
    "the violin maker",
    "the glassblower",
    "the puppeteer",
    "the translator",
    "the Danish guest",
    "the geologist",
    "the snowboarder",
    "the archivist",
    "the magician",
    "the Chilean man",
    "the gondolier",
    "the locksmith",
    "the composer",
    "the Ghanaian woman",
    "the potter",
)
