import torch
import torch.nn as nn


class Block(nn.Module):
    """Takes and gives a list: tokens, prompts of the deeper blocks, how many of them were used."""

    def __init__(self, width, first, mask):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, width * 4))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(width * 4, width))
        self.ln_2 = nn.LayerNorm(width)
        self.first, self.mask = first, mask

    def forward(self, inputs):
        x, prompts, used = inputs
        if not self.first and used < len(prompts):
            prompt = prompts[used].unsqueeze(1).expand(-1, x.shape[1], -1).half()
            x = torch.cat([x[:1], prompt, x[1 + len(prompt) :]])
            used += 1
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.mask)[0]
        return [x + self.mlp(self.ln_2(x)), prompts, used]


class Transformer(nn.Module):
    def __init__(self, width, layers, mask=None):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, i == 0, mask) for i in range(layers)])


class Visual(nn.Module):
    def __init__(self, width, layers, patch, grid, output):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(grid**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers)
        self.proj = nn.Parameter(torch.zeros(width, output))

    def forward(self, x, shared, deep):
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = torch.cat([x, shared.expand(len(x), -1, -1).half()], 1)
        x = self.transformer.resblocks([self.ln_pre(x).permute(1, 0, 2), deep, 0])[0]
        return self.ln_post(x[0]) @ self.proj


class CLIP(nn.Module):
    def __init__(self, state, design):
        super().__init__()
        assert design["trainer"] == "MaPLe"
        vision = state["visual.conv1.weight"]
        grid = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
        width = len(state["ln_final.weight"])
        layers = [len({k.split(".")[i] for k in state if k.startswith(p)}) for p, i in
                  (("visual.transformer.resblocks", 3), ("transformer.resblocks", 2))]
        output = state["text_projection"].shape[1]
        self.visual = Visual(len(vision), layers[0], vision.shape[-1], grid, output)
        self.register_buffer("mask", torch.full((77, 77), float("-inf")).triu_(1), persistent=False)
        self.transformer = Transformer(width, layers[1], self.mask)
        self.token_embedding = nn.Embedding(len(state["token_embedding.weight"]), width)
        self.positional_embedding = nn.Parameter(torch.zeros(77, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, output))
        self.logit_scale = nn.Parameter(torch.ones([]))

    @property
    def dtype(self):
        return self.visual.conv1.weight.dtype


def build_model(state_dict, design_details):
    for key in ("input_resolution", "context_length", "vocab_size"):
        state_dict.pop(key, None)
    model = CLIP(state_dict, design_details)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.MultiheadAttention)):
            module.half()
    model.load_state_dict(state_dict)
    return model.eval()
