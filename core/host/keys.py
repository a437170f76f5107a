"""Every name under which the pack keeps something where other nodes keep theirs too.

`keys.RUN` and so on: no other module spells one of them.
"""

# In transformer options, while a model samples.
RUN = "likeness"  # the Run; also the wrapper that opens it
ROWS = "likeness_rows"  # the Rows of the running forward
TWINS = "likeness_twins"  # the TwinRun
HIDDEN = "likeness_hidden_states"  # what a block's cross-attention is about to see, for routers
LATENT = "likeness_latent"  # (height, width) of the latent that the running forward is given
TEXT = "likeness_text"  # how many tokens of the prompt lie before the picture's in a transformer's blocks
BLOCK = "likeness_block"  # the Insides of the transformer block that is running: what its attention is to do more

# Wrappers and additional models of a ModelPatcher.
CURE = "likeness_cure"
MIXED = "likeness_mixed"
LATE = "likeness_late"
LORA = "likeness_lora"
BLOCKS = "likeness_blocks"

# Among a guider's conditionings.
OURS = "likeness_"  # what the names of all those begin with that we add to a guider's own
TWIN_ENTRIES = "likeness_twin_entries"  # the twins of the positive entries, without identity
TEMPLATE = "likeness_template"  # the prompt without what the abstract pass redraws
LACKING = "likeness_lacking"  # the prompt without its attributes

# On a conditioning.
IN_PROMPT = "likeness_in_prompt"  # it was made by IDTextEncode
PLAIN = "likeness_plain_text"  # what a prompt with a face in it was, as encoded, before the face went in
MERGE_AT = "likeness_merge_at"  # from which share (0..1) of the denoising on it has the face in it
# (positions, tokens [1,P,D]): what goes of nobody's face into the words of the negative prompt; on a negative prompt,
# what went into it
NOBODY_WORDS = "likeness_nobody_in_prompt"
CONTROL_TOKENS = "cross_attn_controlnet"  # ComfyUI's own: what it feeds every ControlNet in place of the prompt
IDENTITY = "likeness_identity"  # the identity of all who were applied, behind what another pack left
NOBODY = "likeness_no_identity"  # of as many without a face, for rows whose identity is switched off
PEOPLE = "likeness_people"  # the people whom a ControlNet of their own draws; in a forward: its rows have them

# Among what a forward of the model, or of a ControlNet, is called with.
OWN_IDENTITY = "likeness_identity"  # the identity as a conditioning of its own (ComfyUI's model_conds)
BEFORE = "likeness_before"  # what the forward was before one ControlNet was given something of its own
ASIDE = "likeness_aside"  # what a person's ControlNet shall not see, kept for the links behind it
ROW_MAP = "likeness_row_map"  # row numbers, sent through a node that cuts the batch
