"""Our own training sentences: templates for the kinds that the training data barely has. Training only.

Each kind has sentences that show it, and look-alikes that do not: denial, quotation, counter-speech,
praise, reports, harmless uses of strong words. No slurs: the labelled data brings those.
"""

import random
from collections.abc import Iterator, Mapping

SLOTS: Mapping[str, tuple[str, ...]] = {
    "group": (
        "women", "men who are gay", "gay people", "lesbians", "trans people", "Muslims", "Jews",
        "Jewish people", "Christians", "Hindus", "black people", "Asians", "Africans", "Arabs", "Mexicans",
        "Latinos", "immigrants", "migrants", "refugees", "foreigners", "disabled people",
        "people in wheelchairs", "autistic people", "Roma", "old people", "Indians", "Chinese people",
        "indigenous people", "queer people", "white people",
    ),
    "person": (
        "woman", "gay man", "lesbian", "trans person", "Muslim", "Jew", "Hindu", "black person", "Asian",
        "Arab", "Mexican", "immigrant", "refugee", "foreigner", "disabled person", "autistic person",
        "black man", "girl",
    ),
    "low": (
        "disgusting", "inferior", "worthless", "subhuman", "filthy", "vile", "stupid", "evil", "repulsive",
        "a disease", "parasites", "vermin", "animals", "a plague", "scum", "trash", "criminals",
        "a threat to us all", "not real people", "less than human", "sick in the head", "good for nothing",
        "a burden on society",
    ),
    "fine": (
        "wonderful", "kind", "welcome here", "our neighbours", "as clever as anyone",
        "equal to everyone else", "great colleagues", "loved by their families", "underrated as artists",
        "protected by the law", "part of our team", "people like you and me", "good parents", "brave",
    ),
    "harm": (
        "die", "be shot", "be wiped out", "suffer", "be locked up", "be beaten", "burn", "be gassed",
        "be hanged", "be deported", "be sterilised", "lose the right to vote", "be thrown out", "disappear",
        "be banned",
    ),
    "hate": (
        "hate", "despise", "loathe", "can't stand", "detest", "am disgusted by", "want to hurt", "spit on",
    ),
    "like": (
        "love", "respect", "admire", "work with", "support", "enjoy meeting", "miss", "trust",
        "grew up with",
    ),
    "thing": (
        "this printer", "Mondays", "traffic jams", "cold coffee", "the new update", "broccoli",
        "this compiler", "my old laptop", "these meetings", "the weather here", "that film", "paperwork",
        "this bug", "slow queries",
    ),
    "insult": (
        "an idiot", "a moron", "a loser", "pathetic", "a disgrace", "a worthless fool", "so stupid",
        "an imbecile", "a waste of space", "a liar and a coward", "dumb as a brick", "a clown",
        "ugly and stupid", "a total failure", "a disgusting creature", "a piece of garbage",
        "the dumbest person alive", "a miserable little worm",
    ),
    "praise": (
        "a great help", "very kind", "a good friend", "right about that", "my favourite teacher",
        "so clever", "a patient listener", "the best", "late for dinner", "welcome to stay", "new here",
        "an engineer", "funny",
    ),
    "attack": (
        "kill you", "hurt you", "break your legs", "beat you up", "cut your throat", "shoot you",
        "stab you", "burn your house down", "make you bleed", "strangle you", "smash your face in",
        "end your life", "hunt you down", "put a bullet in your head", "come for your family", "bury you",
    ),
    "offer": (
        "call you", "help you", "meet you at noon", "send you the file", "cook for you",
        "visit you on Sunday", "explain it to you", "pay you back", "drive you home", "write to you",
        "miss you", "beat you at chess",
    ),
    "end": (
        "kill myself", "end my life", "hurt myself", "cut myself", "take all the pills at once",
        "not be alive", "jump off a bridge", "hang myself", "overdose", "slit my wrists", "starve myself",
        "die tonight",
    ),
    "start": (
        "teach myself Spanish", "change my life", "treat myself", "buy a car", "take the bus", "be on time",
        "jump into the pool", "go to bed early", "learn to swim", "write my thesis", "run a marathon",
        "bake bread",
    ),
    "body": ("her naked body", "his cock", "her breasts", "her pussy", "his dick", "my ass", "her nipples"),
    "act": ("sucking", "stroking", "licking", "riding", "fucking", "touching", "kissing", "spanking"),
    "act2": (
        "moaned", "came hard", "begged for more", "undressed slowly", "spread her legs", "had an orgasm",
    ),
    "calm": (
        "painting", "washing", "drawing", "photographing", "studying", "describing", "measuring",
        "carrying",
    ),
    "object": (
        "the fence", "her bicycle", "the old house", "a landscape", "the results", "a horse", "the baby",
    ),
    "task": (
        "kill the process", "kill the child process", "terminate the thread", "shoot the photos",
        "execute the script", "abort the job", "hit the endpoint", "destroy the cluster", "drop the table",
        "attack the problem", "strip the whitespace", "blow up the image to full size",
        "inject the dependency", "dump the core",
    ),
}  # fmt: skip

HATE = "HATE"
INSULT = "INSULT"
THREAT = "THREAT"
SEXUAL = "SEXUAL"
SELF_HARM = "SELF_HARM"
NONE = ""

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    HATE: (
        "I {hate} {group}.", "{group} are {low}.", "All {group} are {low} and always will be.",
        "{group} should {harm}.", "All {group} deserve to {harm}.", "Every {person} should {harm}.",
        "Why are {group} so {low}?", "You {person}s are {low}.", "We must get rid of all {group}.",
        "{group} do not belong in this country.", "A {person} can never be trusted.",
        "I will not serve {group}.", "I would never hire a {person}, they are {low}.",
        "The world would be better without {group}.", "Nobody wants {group} here, they are {low}.",
        "Being a {person} is a disease.", "Let them {harm}, they are {group}.",
        "I am going to hurt the next {person} I see.",
        "{group} are ruining everything. They should {harm}.", "Shut up, you are only a {person}.",
        "If you are a {person} you are {low} to me.", "{group} are not human.",
        "Send all {group} back where they came from.", "Those {low} {group} have to {harm}.",
    ),
    INSULT: (
        "You are {insult}.", "He is {insult} and everybody knows it.", "Shut up, you {low} fool.",
        "She is {insult}.", "What {insult} you are!", "Nobody likes you, you are {insult}.",
        "Are you stupid or just {insult}?", "Only {insult} would write something like this.",
        "I hate you, you are {insult}.", "Go away, you are {insult}.",
        "This author is {insult}, and so is anybody who agrees.", "You make me sick. You are {insult}.",
    ),
    THREAT: (
        "I will {attack}.", "I am going to {attack}.", "One day I will find you and {attack}.",
        "Watch out or I {attack}.", "If you come back I will {attack}.",
        "We know where you live and we will {attack}.", "Someone should {attack}.",
        "Tomorrow I bring a gun and {attack}.", "Say that again and I'll {attack}.",
        "They all deserve to die and I will do it.", "How do I {attack} without anybody noticing?",
        "I hope somebody will {attack}.",
    ),
    SEXUAL: (
        "She {act2} while he was {act} {body}.", "He was {act} {body} until she {act2}.",
        "I want you {act} {body} tonight.", "They had sex on the couch and she {act2}.",
        "Tell me a dirty story about {act} {body}.", "Send me nudes of {body}.",
        "He pushed inside her and she {act2}.", "I am so horny, I keep thinking about {body}.",
        "She took off her bra and {act2}.", "Hot porn video, {act} {body}, watch free.",
        "My stepsister {act2} when I was {act} {body}.",
    ),
    SELF_HARM: (
        "I want to {end}.", "I have been thinking about how to {end}.", "Tonight I will {end}.",
        "I just want to {end}.", "What is the least painful way to {end}?",
        "Nobody would miss me if I {end}.", "I cannot go on, I am going to {end}.",
        "I tried to {end} last year and I might again.", "Teach me how to {end}.",
        "I feel worthless and I want to {end}.", "I don't want to live any more.",
        "My arms are full of cuts that I made and it feels good to {end}.",
        "How many pills does it take to {end}?", "I wrote my goodbye letter. I will {end}.",
    ),
    NONE: (
        "I {like} {group}.", "{group} are {fine}.", "All {group} are {fine}.", "I am a {person}.",
        "My neighbour is a {person}.", "I do not hate {group}.",
        "Nobody should say that {group} are {low}.", "It is wrong to say '{group} are {low}'.",
        "You cannot just claim that {group} should {harm}. That is hateful.",
        "No {person} deserves to {harm}.", "Saying 'I {hate} {group}' is not acceptable here.",
        "Those who say {group} should {harm} need to learn some respect.",
        "We should never let {group} {harm}.", "{group} are not {low}.",
        "The film is about {group} in the last century.",
        "The survey asked {group} about housing and work.", "I {hate} {thing}.",
        "{thing} is {low}, I want a new one.", "You are {praise}.",
        "He is {praise} and everybody knows it.", "She is {praise}.", "You are not {insult}.",
        "He called me {insult} and that hurt.", "Please don't call people {insult}.",
        "I felt like {insult} when I forgot it.", "I will {offer}.", "I am going to {offer} tomorrow.",
        "If you come back I will {offer}.", "How do I {task} in Linux?", "Please {task} before you leave.",
        "The script will {task} and start again.", "You have to {task} first.", "I want to {start}.",
        "Tonight I will {start}.", "I have been thinking about how to {start}.",
        "What is the best way to {start}?", "She smiled while he was {calm} {object}.",
        "He was {calm} {object} until noon.", "They sat on the couch and watched {thing}.",
        "I want to see you {calm} {object} tonight.", "The report counts deaths by disease and accidents.",
        "The soldiers were killed in the battle of 1644.",
        "Suicide prevention lines are open all night, call them when you need help.",
        "The murder was solved by the police.", "Breast cancer screening saves lives.",
        "Sex education is part of the curriculum.", "This damn thing works at last, hell yes!",
        "That was a fucking good concert.", "Holy shit, what a goal!",
        "The article describes violence against {group}.", "Welcome! {group} are {fine} and {praise}.",
        "As a {person} I am proud of who I am.", "A {person} lives next door.",
    ),
}  # fmt: skip


def sentences(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """`count` pairs (sentence, kind) for each kind, four times as many without one; fixed by the seed."""
    chance = random.Random(seed)
    for kind, templates in TEMPLATES.items():
        for number in range(count if kind else 4 * count):
            yield _fill(templates[number % len(templates)], chance), kind


def _fill(template: str, chance: random.Random) -> str:
    text = template
    for slot, values in SLOTS.items():
        while "{" + slot + "}" in text:
            text = text.replace("{" + slot + "}", chance.choice(values), 1)
    style = chance.random()
    if style < 0.2:
        return text.lower()
    if style < 0.25:
        return text.upper()
    return text[0].upper() + text[1:]
