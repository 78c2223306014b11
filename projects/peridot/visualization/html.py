"""A self-contained HTML page about a pre-training run: figures are inside the file, no network is needed."""

import base64
import html
import io
import json
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

STYLE = """
:root{--back:#10150f;--panel:#1a2118;--line:#2c3529;--text:#e8ede4;--quiet:#9fab96;--accent:#c5e17a;--on-accent:#10150f}
@media (prefers-color-scheme:light){:root{--back:#f6f8f3;--panel:#e8ede1;--line:#cfd8c5;--text:#1b2218;--quiet:#55614d;
  --accent:#4f7212;--on-accent:#fff}}
body{font:16px/1.55 system-ui,sans-serif;margin:0;background:var(--back);color:var(--text)}
main{max-width:1180px;margin:auto;padding:32px 20px 80px}
h1{font-size:2.3em;line-height:1.2;margin:.2em 0;color:var(--accent)} h2{margin-top:2.2em;color:var(--accent)}
a{color:var(--accent)} p{max-width:75ch} img{max-width:100%;border-radius:6px;display:block} figure{margin:1.2em 0}
figcaption{color:var(--quiet);font-size:.92em;margin-top:.5em;max-width:95ch}
.table{overflow-x:auto} table{border-collapse:collapse;margin:1em 0} td{white-space:nowrap}
td,th{padding:.35em .9em;text-align:right;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{text-align:left} .big{font-size:2.8em;line-height:1.2;color:var(--accent);font-weight:600}
.two{display:grid;grid-template-columns:1fr 1fr;gap:16px} canvas{width:100%;border-radius:6px;cursor:crosshair}
pre{background:var(--panel);padding:1em;border-radius:6px;overflow:auto}
.bar{height:.8em;border-radius:3px;display:inline-block}
.next a{display:inline-block;background:var(--accent);color:var(--on-accent);padding:.5em 1em;border-radius:7px;
  text-decoration:none}
@media (max-width:700px){main{padding:16px 12px 40px} h1{font-size:1.6em} .big{font-size:1.7em}
  td,th{padding:.3em .5em} .two{grid-template-columns:1fr} .wide{overflow-x:auto} .wide img{max-width:none;width:190vw}}
"""

SCRIPT = """
const clouds=CLOUDS, boxes=[...document.querySelectorAll('canvas.cloud')];
const decode=(text,type)=>new type(Uint8Array.from(atob(text),c=>c.charCodeAt(0)).buffer);
const xy=decode(clouds.xy,Int16Array), n=xy.length/2;
const features=clouds.features.map(text=>decode(text,Int8Array)), d=clouds.dimension;
const color=s=>{s=Math.max(0,Math.min(1,s));
  return `hsl(${260-205*s},${60+35*s}%,${14+46*s*s}%)`};
function draw(query){boxes.forEach((canvas,k)=>{
  const g=canvas.getContext('2d'), f=features[k], w=canvas.width;
  g.fillStyle='#0a0d09'; g.fillRect(0,0,w,w);
  const norm=i=>{let s=0;for(let j=0;j<d;j++)s+=f[i*d+j]**2;return Math.sqrt(s)||1}, nq=norm(query);
  for(let i=0;i<n;i++){let s=0;for(let j=0;j<d;j++)s+=f[i*d+j]*f[query*d+j];
    g.fillStyle=color(s/(nq*norm(i))); g.fillRect(xy[2*i]*w/4096,xy[2*i+1]*w/4096,3,3)}
  g.strokeStyle='#fff'; g.beginPath(); g.arc(xy[2*query]*w/4096,xy[2*query+1]*w/4096,9,0,7); g.stroke()})}
boxes.forEach(canvas=>canvas.addEventListener('click',e=>{const r=canvas.getBoundingClientRect();
  const x=(e.clientX-r.left)/r.width*4096,y=(e.clientY-r.top)/r.height*4096;let best=0,low=1e12;
  for(let i=0;i<n;i++){const q=(xy[2*i]-x)**2+(xy[2*i+1]-y)**2;if(q<low){low=q;best=i}} draw(best)}));
draw(clouds.query);
"""


def figure_html(image: np.ndarray, caption: str, width: int = 1180) -> str:
    """A figure with an embedded JPEG image.

    Args:
        image: Uint8 (H, W, 3).
        caption: Plain text below it.
        width: Largest width in pixels.
    """
    canvas = Image.fromarray(np.ascontiguousarray(image))
    if canvas.width > width:
        canvas = canvas.resize((width, round(canvas.height * width / canvas.width)))
    buffer = io.BytesIO()
    canvas.save(buffer, 'JPEG', quality=88)
    source = base64.b64encode(buffer.getvalue()).decode()
    alt = html.escape(caption, quote=True)
    return (
        f'<figure><div class="wide"><img src="data:image/jpeg;base64,{source}" alt="{alt}"></div>'
        f'<figcaption>{html.escape(caption)}</figcaption></figure>'
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of plain text; cells that start with `<` are taken as HTML."""
    cell = lambda text, tag: f'<{tag}>{text if text.startswith("<") else html.escape(text)}</{tag}>'  # noqa: E731
    lines = [''.join(cell(text, 'th') for text in header)]
    lines += [''.join(cell(text, 'td') for text in row) for row in rows]
    return '<div class="table"><table>' + ''.join(f'<tr>{line}</tr>' for line in lines) + '</table></div>'


def bar(value: float, color: str) -> str:
    """A horizontal bar for a value in [0, 1], with its number."""
    return f'<span class="bar" style="width:{180 * value:.0f}px;background:{color}"></span> {value:.2f}'


def legend(classes: Sequence[str], palette: Sequence[Sequence[int]]) -> str:
    """Names of classes beside their colors, RGB."""
    spans = (
        f'<span class="bar" style="width:1em;background:rgb{tuple(color)}"></span> {html.escape(name)}&emsp;'
        for name, color in zip(classes, palette)
    )
    return f'<p>{"".join(spans)}</p>'


def similarity_viewer(
    xyz: Tensor,
    features: dict[str, Tensor],
    query: int,
    extent: float = 35.0,
    points: int = 9000,
    dims: int = 16,
) -> str:
    """Clouds from above, side by side, colored by similarity to the point that is clicked.

    Args:
        xyz: Float (N, >=3), meters, lidar frame.
        features: Float (N, C) each, by title.
        query: Row of the point shown first.
        extent: Half the width shown, meters.
        points: Number of points shown.
        dims: Principal components kept, as 8-bit numbers.
    """
    inside = (xyz[:, :2].abs() < extent).all(1)
    inside[query] = True
    rows = inside.nonzero()[:, 0]
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat((torch.tensor([query]), rows[torch.randperm(len(rows), generator=generator)[:points]]))
    rows = rows[xyz[rows, 2].argsort(stable=True)]
    position = torch.stack((xyz[rows, 0] / extent + 1, 1 - xyz[rows, 1] / extent), 1) * 2048
    encode = lambda array: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()  # noqa: E731
    clouds = dict(
        xy=encode(position.clamp(0, 4095).numpy().astype(np.int16)),
        features=[encode(_compressed(values[rows], dims)) for values in features.values()],
        dimension=dims,
        query=int((rows == query).nonzero()[0]),
    )
    boxes = ''.join(
        f'<div><canvas class="cloud" width="900" height="900"></canvas>'
        f'<figcaption>{html.escape(title)}</figcaption></div>'
        for title in features
    )
    return f'<div class="two">{boxes}</div><script>{SCRIPT.replace("CLOUDS", json.dumps(clouds))}</script>'


def _compressed(features: Tensor, dims: int) -> np.ndarray:
    """Unit vectors of the first principal components of centered features, int8 (N, dims)."""
    centered = features.float() - features.float().mean(0)
    _, vectors = torch.linalg.eigh(centered.T @ centered)
    components = centered @ vectors[:, -dims:]
    components = torch.nn.functional.pad(components, (0, dims - components.shape[1]))
    unit = components / components.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return (127 * unit).round().numpy().astype(np.int8)


def page(title: str, sections: list[str]) -> str:
    """The full document."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style>'
        f'<main><h1>{html.escape(title)}</h1>{"".join(sections)}</main></html>'
    )
