"""Our own sentences about people: templates for the kinds that the labelled data barely has.

Each kind has sentences that show it, and look-alikes that do not: denial, quotation, counter-speech,
praise, reports, fiction, harmless uses of strong words. No slurs: the labelled data brings those.
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
    "end2": ("kill yourself", "cut yourself", "jump off a bridge", "hang yourself", "take all your pills"),
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
    "outsider": (
        "landlords", "bankers", "taxi drivers", "lawyers", "referees", "tech bosses", "lobbyists", "vegans",
        "tourists", "goalkeepers", "estate agents", "influencers", "the tax office", "my rivals at chess",
    ),
    "who": (
        "my brother", "the old woman next door", "our teacher", "a friend of mine", "the man on the bus",
        "my boss", "the new girl", "her uncle", "a stranger", "the nurse", "our captain", "his wife",
    ),
    "swear": (
        "fucking", "damn", "bloody", "goddamn", "freaking",
    ),
    "good": (
        "brilliant", "good", "funny", "beautiful", "tasty", "clever", "exciting", "close", "lucky",
    ),
    "joy": (
        "this song", "that goal", "your cake", "the new season", "this keyboard", "the concert last night",
        "my weekend", "the view up here", "that plot twist", "your outfit",
    ),
    "role": (
        "teacher", "judge", "doctor", "mayor", "driver", "singer", "striker", "director", "colleague",
        "neighbour", "dentist", "cousin", "coach", "minister", "pilot", "baker",
    ),
    "method": (
        "a kitchen knife", "sleeping pills", "a rope", "the train", "a razor", "bleach", "car exhaust",
        "a plastic bag", "a gun",
    ),
    "weapon": ("a knife", "my gun", "an axe", "petrol", "a hammer", "a baseball bat", "acid", "a bomb"),
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
        "The {group} next door are {low}, like all of them.", "Keep {group} away from our schools.",
        "Who let the {group} in? They are {low}.", "There is nothing human about {group}.",
        "Honestly, {group} are {low}. There, I said it.", "Am I the only one who thinks {group} are {low}?",
        "Can we agree that {group} should {harm}?", "It is no secret that {group} are {low}.",
        "You would have to be blind not to see how {low} {group} are.",
        "I used to think {group} were fine. Now I know that they are {low}.",
        "{group} pretend to be nice. Underneath they are {low}.",
        "They may smile at you, but {group} are {low}.",
        "Look at those {group}. It makes me sick to share a street with them.",
        "Don't let a {person} touch your food.", "My cat has more brains than a {person}.",
        "A {person} has no right to vote.", "I'd sooner eat dirt than shake hands with a {person}.",
        "No {person} will ever be as good as us.", "The life of a {person} counts for nothing.",
        "{group} don't deserve any rights at all.", "Nobody should feel sorry for {group}.",
        "What do you expect from a {person}? They are all {low}.", "That {person} should {harm}.",
        "Dear {group}, you are {low} and we do not want you.", "I {hate} you {group} so much.",
        "Every time I see a {person} I want to throw up.", "Somebody ought to make {group} {harm}.",
        "If it were up to me, {group} would {harm}.", "The only good {person} is a dead one.",
        "Fucking {group}, always {low}.", "{group} are to blame for everything that is wrong here.",
        "Hurting a {person} should not even be a crime.", "We will hunt down the {group} of this town.",
        "{group} have the morals of rats.", "Stop breeding, {group}. There are too many of you.",
        "{group} control the banks and the news, they are {low}.",
        "A {person} belongs in the kitchen or in a cage.", "Typical {person}, {low} as ever.",
        "I refuse to sit beside {group}; they are {low}.", "It is in the blood of {group} to steal.",
    ),
    INSULT: (
        "You are {insult}.", "He is {insult} and everybody knows it.", "Shut up, you {low} fool.",
        "She is {insult}.", "What {insult} you are!", "Nobody likes you, you are {insult}.",
        "Are you stupid or just {insult}?", "Only {insult} would write something like this.",
        "I hate you, you are {insult}.", "Go away, you are {insult}.",
        "This author is {insult}, and so is anybody who agrees.", "You make me sick. You are {insult}.",
        "Listen, you {low} piece of work, nobody asked you.", "Your {role} is {insult}.",
        "Only {insult} would vote for that {role}.", "You have the brain of a slug.",
        "God, you are useless. Quit already.", "Everyone laughs behind your back, {insult}.",
        "Crawl back under your rock.", "How are you this dumb and still breathing?",
        "That {role} is {insult} and a crook.", "You people at support are {insult}.",
        "What a bunch of clowns. Every one of you is {insult}.", "Screw you, you are {insult}.",
        "Get lost, freak.", "You look like a pig in a wig.",
        "No wonder your wife left you, you are {insult}.",
        "Your mother must be ashamed of {insult} like you.", "Kys, nobody wants you here, you are {insult}.",
        "You disgust me and everyone who knows you.",
        "This {role} should be ashamed, {insult} through and through.",
        "Shut your mouth, {insult}.", "lol you are {insult}, delete your account",
    ),
    THREAT: (
        "I will {attack}.", "I am going to {attack}.", "One day I will find you and {attack}.",
        "Watch out or I {attack}.", "If you come back I will {attack}.",
        "We know where you live and we will {attack}.", "Someone should {attack}.",
        "Tomorrow I bring a gun and {attack}.", "Say that again and I'll {attack}.",
        "They all deserve to die and I will do it.", "How do I {attack} without anybody noticing?",
        "I hope somebody will {attack}.",
        "I have {weapon} and I know when you leave the house.", "We are coming with {weapon} tonight.",
        "You will be dead before the week is over.", "I'd love to {attack} with {weapon}.",
        "Your kids walk home alone, don't they? Think about that.", "Pay up or we {attack}.",
        "Next time I see {who} I will use {weapon}.", "I'm going to make {who} beg for mercy.",
        "They should all be lined up and shot.", "Sleep well. It is your last night.",
        "I want to watch {who} bleed.", "Somebody put a bullet in that {role}.",
        "If the {role} signs this, he is a dead man.", "We will burn the place down with everyone inside.",
        "I swear I'll {attack} and nobody will find the body.", "That {role} has to {harm}, and I will help.",
        "He dragged {who} down the stairs and cut the throat until blood was everywhere.",
    ),
    SEXUAL: (
        "She {act2} while he was {act} {body}.", "He was {act} {body} until she {act2}.",
        "I want you {act} {body} tonight.", "They had sex on the couch and she {act2}.",
        "Tell me a dirty story about {act} {body}.", "Send me nudes of {body}.",
        "He pushed inside her and she {act2}.", "I am so horny, I keep thinking about {body}.",
        "She took off her bra and {act2}.", "Hot porn video, {act} {body}, watch free.",
        "My stepsister {act2} when I was {act} {body}.",
        "I want to taste every inch of you until you scream.", "He tied her up and took her from behind.",
        "Describe in detail how they have sex.", "Her wet lips closed around him and he groaned.",
        "Looking for somebody to fuck tonight, no strings.", "Let's do a roleplay where you strip for me.",
        "She was riding him hard on the kitchen table.", "My wife watched while I fucked her best friend.",
        "Cum on my face, she begged.", "He slid his fingers between her thighs and she {act2}.",
        "Write erotic fan fiction where she is {act} {body}.", "Naked pictures of {who}, click here.",
        "I masturbate every night thinking of {body}.", "The teacher made the student undress and {act2}.",
        "They were {act} each other for hours and she {act2}.",
        "Her panties dropped to the floor as he was {act} {body}.",
    ),
    SELF_HARM: (
        "I want to {end}.", "I have been thinking about how to {end}.", "Tonight I will {end}.",
        "I just want to {end}.", "What is the least painful way to {end}?",
        "Nobody would miss me if I {end}.", "I cannot go on, I am going to {end}.",
        "I tried to {end} last year and I might again.", "Teach me how to {end}.",
        "I feel worthless and I want to {end}.", "I don't want to live any more.",
        "My arms are full of cuts that I made and it feels good to {end}.",
        "How many pills does it take to {end}?", "I wrote my goodbye letter. I will {end}.",
        "I bought {method} and I am ready to {end}.", "I keep {method} in my room in case I decide to {end}.",
        "Would {method} be enough to {end}?", "I've been cutting again. The scars help me feel something.",
        "I relapsed last night and cut my thighs.", "I have not eaten for five days, I want to disappear.",
        "I hate my body so much that I throw up after every meal.",
        "Everyone would be better off if I were dead.",
        "I wish I had never been born and that I could {end}.",
        "I planned to {end} when I was sixteen and the thoughts are back.",
        "My therapist does not know that I want to {end}.", "Do it. Just {end}, nobody will care.",
        "You should {end2}.", "Tips to hide the cuts on my arms from my parents?",
        "I think about suicide every single day.", "It has been a month since my last attempt to {end}.",
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
        "{group} deserve the same pay as everybody else.", "I would never hurt a {person}.",
        "I have nothing against {group}.", "Nobody ought to {harm} for being a {person}.",
        "The {role} is a {person}.", "She became the first {person} to win the prize.",
        "We hired a {person} last month.", "Two of my friends are {group}.",
        "Our {role} wrote a book about {group}.",
        "A {person} opened the bakery on our street.", "{group} make up a third of the team.",
        "There are three {group} in my class.", "I met a {person} at the station.",
        "Being a {person} is nothing to hide.",
        "I am proud to be a {person}.", "It is great to see {group} on screen.", "We stand with {group}.",
        "Whoever says '{group} are {low}' should be ashamed.",
        "Posts such as '{group} should {harm}' get deleted here.",
        "He was fired for writing \"I {hate} {group}\".", "To claim that {group} are {low} is plain racism.",
        "Stop telling {group} that they are {low}.", "Calling a {person} {low} is cruel and wrong.",
        "Anyone who threatens {group} belongs in court.",
        "Why do people still hate {group}? It makes me sad.",
        "She reported the message \"all {group} should {harm}\" to the moderators.",
        "It hurts when people call me {insult} because I am a {person}.",
        "Hatred against {group} is on the rise, the report says.",
        "We must fight violence against {group}.",
        "He shouted that {group} are {low}, and the crowd booed him.",
        "The sentence \"{group} are {low}\" is an example of hate speech.",
        "I {hate} {outsider}.", "{outsider} are {low}.", "{thing} makes me furious.",
        "I could murder a pizza.",
        "{joy} was {swear} {good}!", "What a {swear} {good} day.", "No {swear} way, you did it!",
        "Oh shit, I forgot my keys.",
        "{joy} is the shit, I love it.", "I am such {insult} for missing the train.",
        "That was a dick move of mine, sorry.",
        "Fuck {thing}.", "Fuck yeah, {joy} was {good}!", "Hell, {joy} was {good}.",
        "My {role} is {swear} {good} at this.",
        "Damn, I am so {swear} tired after work.", "We need to get rid of {thing}.",
        "{thing} is a pain in the ass.",
        "I used to hurt myself, and I am glad that I got help.",
        "Talking about suicide with a friend can save a life.",
        "How can I support a friend who wants to {end}?", "The novel ends when its hero dies in the war.",
        "In the film {who} is stabbed and the detective looks for the killer.",
        "The court sentenced the man for attacking {who}.",
        "Police found {weapon} near the river on Monday.", "The doctor examined her breasts for lumps.",
        "Condoms protect against sexually transmitted diseases.",
        "The museum shows nude statues from Greece.",
        "They kissed at the end of the film.", "She felt a lump in her throat and hugged {who}.",
        "Side effects include loss of appetite and sexual dysfunction.",
        "The nurse cleaned the cuts on his arm.",
        "Overdose deaths fell by a tenth last year.", "The knight raised {weapon} and the dragon fell.",
        "Her hands moved over the piano keys and he listened closely.",
        "He whispered her name and they danced until morning.",
        "I will kill the lights now.", "We got slaughtered in the second half, what a match.",
        "You killed it on stage today!",
        "I'm dying of laughter, {joy} was {good}.", "This deadline will be the death of me.",
        "Why?", "Why not?", "Nothing secret in here.", "There is nothing to see in here.",
        "Shut down the server tonight.",
        "What is wrong with this function?", "You are wrong about the second step.",
        "Are you sure? That looks wrong.",
        "I disagree with you; the numbers say otherwise.", "I don't like the {role}'s plan at all.",
        "The {role} lied to the voters, the paper says.", "This policy is a disaster for the economy.",
        "Your answer was useless, please try again.", "I am angry about the delay and want my money back.",
        "Das ist ein ganz normaler Satz.", "Ich hätte gern ein Glas Wasser, bitte.", "Wo ist der Bahnhof?",
        "Der Hund schläft unter dem Tisch.", "Die Kinder spielen heute im Garten.",
        "Das Gift ist im Schrank.",
        "Je voudrais un café, s'il vous plaît.", "Où est la gare?", "El perro duerme en la cocina.",
        "¿Dónde está la biblioteca?", "Il treno parte alle otto.",
        "Der Bericht ist fertig und liegt auf dem Tisch.",
        "Können Sie mir bitte die Rechnung schicken?", "Nous avons reçu votre message hier soir.",
        "Die dicke Katze ist nass geworden.", "Ik heb geen tijd, sorry.", "O relatório está pronto.",
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
