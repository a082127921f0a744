"""Sentences, prompts, voices and languages that the training corpus leaves out."""

HARVARD = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It's easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring.",
    "Kick the ball straight and follow through.",
    "Help the woman get back to her feet.",
    "A pot of tea helps to pass the evening.",
    "Smoky fires lack flame and heat.",
    "The soft cushion broke the man's fall.",
    "The salt breeze came across from the sea.",
    "The girl at the booth sold fifty bonds.",
    "The small pup gnawed a hole in the sock.",
    "The fish twisted and turned on the bent hook.",
    "Press the pants and sew a button on the vest.",
    "The swan dive was far short of perfect.",
    "The beauty of the view stunned the young boy.",
    "Two blue fish swam in the tank.",
    "Her purse was full of useless trash.",
    "The colt reared and threw the tall rider.",
    "It snowed, rained, and hailed the same morning.",
    "Read verse out loud for pleasure.",
    "Hoist the load to your left shoulder.",
    "Take the winding path to reach the lake.",
    "Note closely the size of the gas tank.",
    "Wipe the grease off his dirty face.",
    "Mend the coat before you go out.",
    "The wrist was badly strained and hung limp.",
    "The stray cat gave birth to kittens.",
    "The young girl gave no clear response.",
    "The meal was cooked before the bell rang.",
    "What joy there is in living.",
)

PROMPT_TEXTS = {
    "vm-intro": "Please leave your message after the tone. When done, hang up, or press the pound "
    "key.",
    "vm-opts-full": "Press 2 to access messages saved in other folders. Press 3 to record a "
    "message for another mailbox. Press 0 for greetings and password management.",
    "tt-allbusy": "All representatives of the household are currently assisting other "
    "telemarketers. Please hold, and your call will be answered in the order it was received.",
    "vm-review": "Press 1 to accept this recording. Press 2 to listen to it. Press 3 to re-record "
    "your message.",
    "demo-abouttotry": "I am about to attempt an inter-Asterisk exchange connection to a "
    "demonstration server located at Digium. In order for this to work, you must already be "
    "connected to the internet. Please wait a moment while I attempt to make the connection.",
    "dir-instr": "If this is the person you're looking for, press 1 now. Otherwise, please press "
    "star now.",
}

PROMPTS = (
    *PROMPT_TEXTS,
    "vm-options",
    "conf-adminmenu-18",
    "demo-congrats",
    "demo-instruct",
    "demo-moreinfo",
    "agent-newlocation",
    "queue-callswaiting",
)

HELD_OUT = (*HARVARD, *PROMPT_TEXTS.values())

KOKORO_VOICES = ("af_sky", "am_liam", "bf_lily", "bm_daniel")

KLETTRES_LANGUAGES = ("de", "lt", "pt_BR", "tn")

RUSSIAN = "ru_RU_f_IvrvoiceRU"

ADVENTURE_LINES = (
    "020028P1",
    "050007P2",
    "060029P2",
    "080006P2",
    "09001FP2",
    "10000AP2",
    "11001EP1",
    "160023P4",
    "180006P1",
    "200001P1",
    "210024P2",
    "230001P1",
    "250024P1",
    "260006P2",
    "270001P4",
    "290008P2",
    "340008P2",
    "360023P2",
    "370007P2",
    "38001EP1",
    "390009P2",
    "42001EP2",
    "480007P3",
    "5100CDP3",
    "590006P1",
    "600006P2",
    "640007P1",
    "670001P2",
    "680006P2",
    "690008P2",
    "700006P3",
    "710007P2",
    "720001P2",
    "760006P2",
    "770006P1",
    "800006P2",
)
"""Lines of different conversations, longer than 4 s, that Whisper base transcribes confidently."""
