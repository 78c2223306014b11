'use strict';
// One sample at a time is shown; all of them are in the page. `explorer` is for tests and the browser's console.
const explorer = (() => {
  const element = id => document.getElementById(id);
  const about = JSON.parse(element('about').textContent);
  const stored = [...document.querySelectorAll('script.sample')];
  const state = { sample: null, space: null, query: -1, coloring: 'pca', overlay: 'points', low: 0 };
  let scale, cloud, colors, cosines = null, pixelColors = null;

  // ---- data: compressed arrays in base64

  async function unpack(text, type) {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new type(await new Response(stream).arrayBuffer());
  }

  async function readSample(script) {
    const sample = JSON.parse(script.textContent);
    const steps = await unpack(sample.xyz, Int16Array);
    sample.xyz = Float32Array.from(steps, value => value * sample.step);
    sample.count = steps.length / 3;
    for (const coloring of sample.colorings) coloring.values = await unpack(coloring.values, Uint8Array);
    for (const space of sample.spaces) {
      space.points = await unpack(space.points, Int8Array);
      space.pca = await unpack(space.pca, Uint8Array);
      if (!space.map) continue;
      space.map.values = await unpack(space.map.values, Int8Array);
      space.map.pca = await unpack(space.map.pca, Uint8Array);
    }
    for (const camera of sample.cameras) {
      camera.rows = await unpack(camera.rows, Uint32Array);
      camera.places = await unpack(camera.places, Uint16Array);
      camera.image = await loadImage(camera.source);
    }
    return sample;
  }

  function loadImage(source) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = reject;
      image.src = source;
    });
  }

  // ---- features: int8 vectors, whose cosines are those of the network's features

  function cosinesWith(vectors, query, width) {
    const norm = (values, at) => {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += values[at + k] ** 2;
      return Math.sqrt(sum) || 1;
    };
    const own = norm(query, 0), result = new Float32Array(vectors.length / width);
    for (let i = 0; i < result.length; i++) {
      let sum = 0;
      for (let k = 0, at = i * width; k < width; k++) sum += vectors[at + k] * query[k];
      result[i] = sum / (own * norm(vectors, i * width));
    }
    return result;
  }

  function compare() {
    const { space, query } = state, width = space.width;
    cosines = pixelColors = null;
    if (query < 0) return;
    const vector = space.points.subarray(query * width, (query + 1) * width);
    cosines = { points: cosinesWith(space.points, vector, width) };
    if (space.map) cosines.pixels = cosinesWith(space.map.values, vector, width);
  }

  // ---- colors

  function scaled(values, low) {
    const result = new Uint8Array(values.length * 3);
    for (let i = 0; i < values.length; i++) {
      const step = Math.round(255 * Math.min(1, Math.max(0, (values[i] - low) / (1 - low))));
      result.set(scale.subarray(3 * step, 3 * step + 3), 3 * i);
    }
    return result;
  }

  function looked(values, table, other) {
    const result = new Uint8Array(values.length * 3);
    values.forEach((value, i) => result.set(table[value] || other, 3 * i));
    return result;
  }

  function recolor() {
    const { sample, space, coloring, low } = state, chosen = sample.colorings.find(c => c.title === coloring);
    pixelColors = null;
    if (coloring === 'similarity') {
      colors = scaled(cosines.points, low);
      if (cosines.pixels) pixelColors = scaled(cosines.pixels, low);
    } else if (chosen) {
      colors = chosen.classes
        ? looked(chosen.values, about.palette, about.unlabeled)
        : looked(chosen.values, Array.from({ length: 256 }, (_, i) => scale.subarray(3 * i, 3 * i + 3)));
    } else {
      colors = space.pca;
      if (space.map) pixelColors = space.map.pca;
    }
    if (cloud) cloud.color(colors, state.query);
    drawImages();
    drawControls();
  }

  // ---- images with points or pixels

  function drawImages() {
    state.sample.cameras.forEach(drawImage);
  }

  function drawImage(camera, index) {
    const canvas = camera.canvas, { width, height } = canvas, pen = canvas.getContext('2d', { willReadFrequently: true });
    const overlay = state.overlay === 'pixels' && !pixelColors ? 'points' : state.overlay;
    pen.globalAlpha = 1;
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, width, height);
    pen.globalAlpha = { none: 1, pixels: 0.85, points: 0.55 }[overlay];
    pen.drawImage(camera.image, 0, 0, width, height);
    if (overlay === 'pixels') drawPixels(pen, index, width, height);
    pen.globalAlpha = 1;
    if (overlay === 'points') drawPoints(pen, camera, width, height);
    const at = camera.rows.indexOf(state.query);
    if (state.query < 0 || at < 0) return;
    pen.lineWidth = 2.5;
    pen.strokeStyle = '#fff';
    pen.beginPath();
    pen.arc(...place(camera, at), 8, 0, 7);
    pen.stroke();
  }

  function place(camera, i) {
    return [camera.places[2 * i] / about.pixel_steps, camera.places[2 * i + 1] / about.pixel_steps];
  }

  function drawPoints(pen, camera, width, height) {
    const drawn = pen.getImageData(0, 0, width, height), data = drawn.data, radius = 1;
    for (let i = 0; i < camera.rows.length; i++) {
      const at = 3 * camera.rows[i], [x, y] = place(camera, i).map(Math.round);
      for (let row = Math.max(0, y - radius); row <= Math.min(height - 1, y + radius); row++) {
        for (let col = Math.max(0, x - radius); col <= Math.min(width - 1, x + radius); col++) {
          data.set([colors[at], colors[at + 1], colors[at + 2], 255], 4 * (row * width + col));
        }
      }
    }
    pen.putImageData(drawn, 0, 0);
  }

  function drawPixels(pen, index, width, height) {
    const map = state.space.map, count = map.width * map.height, tile = new ImageData(map.width, map.height);
    for (let i = 0; i < count; i++) {
      const pixel = index * count + i, color = pixelColors.subarray(3 * pixel, 3 * pixel + 3);
      // what is not similar lets the image through
      const similar = state.coloring === 'similarity' ? Math.max(0, cosines.pixels[pixel]) : 0.6;
      tile.data.set([...color, 255 * (0.3 + 0.55 * similar)], 4 * i);
    }
    const small = document.createElement('canvas');
    [small.width, small.height] = [map.width, map.height];
    small.getContext('2d').putImageData(tile, 0, 0);
    pen.globalAlpha = 1;
    // with corners that meet, the centers of the outer pixels lie on the centers of those of the image
    const side = (pixels, cells) => (map.align_corners ? (pixels - 1) / Math.max(cells - 1, 1) : pixels / cells);
    const [x, y] = [side(width, map.width), side(height, map.height)];
    const start = step => (map.align_corners ? 0.5 - step / 2 : 0);
    pen.drawImage(small, start(x), start(y), x * map.width, y * map.height);
  }

  function clickImage(camera, event) {
    const box = camera.canvas.getBoundingClientRect(), ratio = camera.canvas.width / box.width;
    const x = (event.clientX - box.left) * ratio, y = (event.clientY - box.top) * ratio;
    let best = -1, least = Infinity;
    for (let i = 0; i < camera.rows.length; i++) {
      const [u, v] = place(camera, i), distance = (u - x) ** 2 + (v - y) ** 2;
      // of points at the same place the last one is drawn above the others
      if (distance <= least) [best, least] = [camera.rows[i], distance];
    }
    if (best >= 0) select(best);
  }

  function showCameras() {
    const box = element('cameras'), { cameras } = state.sample;
    box.style.setProperty('--columns', Math.min(3, cameras.length));
    box.replaceChildren(...cameras.map(camera => {
      const figure = document.createElement('figure'), caption = document.createElement('figcaption');
      camera.canvas = document.createElement('canvas');
      camera.canvas.width = camera.image.naturalWidth;
      camera.canvas.height = camera.image.naturalHeight;
      camera.canvas.addEventListener('click', event => clickImage(camera, event));
      camera.canvas.setAttribute('aria-label', camera.name);
      caption.textContent = camera.name;
      figure.append(camera.canvas, caption);
      return figure;
    }));
  }

  // ---- the cloud in 3D

  const VERTEX = `
    attribute vec3 color; uniform float size, smallest, largest; varying vec3 shown;
    void main() {
      shown = color;
      vec4 seen = modelViewMatrix * vec4(position, 1.0);
      gl_Position = projectionMatrix * seen;
      gl_PointSize = clamp(size / -seen.z, smallest, largest);
    }`;
  const FRAGMENT = `
    varying vec3 shown; uniform float hole;
    void main() {
      float radius = 2.0 * length(gl_PointCoord - 0.5);
      if (radius > 1.0 || radius < hole) discard;
      gl_FragColor = vec4(shown, 1.0);
    }`;

  function pointsMaterial(settings, options) {
    const uniforms = Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, { value }]));
    return new THREE.ShaderMaterial({ uniforms, vertexShader: VERTEX, fragmentShader: FRAGMENT, ...options });
  }

  function pointsGeometry(positions, tints) {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute('position', new THREE.BufferAttribute(positions, 3));
    geometry.setAttribute('color', new THREE.BufferAttribute(tints, 3, true));
    return geometry;
  }

  // circles around the sensor, every 10 m at first, and an arrow that shows where the vehicle looks
  function groundLines([fx, fy], z) {
    const ends = [];
    for (const radius of [10, 20, 40]) {
      for (let i = 0; i < 128; i++) {
        for (const turn of [i, i + 1]) {
          const angle = 2 * Math.PI * turn / 128;
          ends.push(radius * Math.cos(angle), radius * Math.sin(angle), z);
        }
      }
    }
    const at = (ahead, right) => [ahead * fx + right * fy, ahead * fy - right * fx, z];
    const arrow = [at(2.6, 0), at(-1.6, 1.3), at(-0.8, 0), at(-1.6, -1.3)];
    arrow.forEach((corner, i) => ends.push(...corner, ...arrow[(i + 1) % 4]));
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute('position', new THREE.BufferAttribute(new Float32Array(ends), 3));
    return new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: 0x4a5a43 }));
  }

  // gives for a row of the cloud its place in the window, in CSS pixels, and its depth in meters
  function projection(camera, canvas) {
    camera.updateMatrixWorld();
    const m = camera.projectionMatrix.clone().multiply(camera.matrixWorldInverse).elements;
    const box = canvas.getBoundingClientRect(), xyz = state.sample.xyz;
    const product = (at, row) => m[row] * xyz[at] + m[row + 4] * xyz[at + 1] + m[row + 8] * xyz[at + 2] + m[row + 12];
    return i => {
      const [x, y, depth] = [0, 1, 3].map(row => product(3 * i, row));
      return [box.left + (1 + x / depth) / 2 * box.width, box.top + (1 - y / depth) / 2 * box.height, depth];
    };
  }

  // near points come before those that shine through between them
  function pick(camera, canvas, x, y, reach) {
    const pixel = projection(camera, canvas);
    let best = -1, least = Infinity;
    for (let i = 0; i < state.sample.count; i++) {
      const [u, v, depth] = pixel(i), distance = Math.hypot(u - x, v - y);
      if (depth < camera.near || !(distance <= reach)) continue;
      const badness = distance + 6 * Math.log(depth);
      if (badness < least) [best, least] = [i, badness];
    }
    return best;
  }

  function listenToClicks(camera, canvas) {
    let down = null;
    canvas.addEventListener('pointerdown', event => { down = event.isPrimary ? event : null; });
    canvas.addEventListener('pointerup', ({ button, clientX: x, clientY: y, pointerType }) => {
      // a pointer that moved has turned the cloud
      if (!down || button !== 0 || Math.hypot(x - down.clientX, y - down.clientY) >= 6) return;
      const row = pick(camera, canvas, x, y, pointerType === 'mouse' ? 9 : 20);
      if (row >= 0) select(row);
    });
  }

  function makeCloud(canvas) {
    const renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    renderer.setClearColor(0x0b0f0a);
    const camera = new THREE.PerspectiveCamera(50, 1, 0.2, 2000), scene = new THREE.Scene();
    camera.up.set(0, 0, 1);
    const controls = new THREE.OrbitControls(camera, canvas);
    Object.assign(controls, { zoomToCursor: true, maxDistance: 400, minDistance: 1 });
    const material = pointsMaterial({ size: 1, smallest: 2, largest: 14, hole: 0 });
    const ringMaterial = pointsMaterial({ size: 0, smallest: 22, largest: 22, hole: 0.72 }, { depthTest: false });
    let points, ring, lines, waiting = false;

    const render = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; renderer.render(scene, camera); });
    };
    const resize = () => {
      const { clientWidth: width, clientHeight: height } = canvas.parentElement, ratio = window.devicePixelRatio;
      renderer.setPixelRatio(Math.min(ratio, 2));
      renderer.setSize(width, height, false);
      camera.aspect = width / height;
      // in a narrow window the field of view stays wide enough to see a street
      camera.fov = width < height ? 65 : 50;
      camera.updateProjectionMatrix();
      // points are spheres of 12 cm
      material.uniforms.size.value = 0.12 * renderer.domElement.height / (2 * Math.tan(camera.fov * Math.PI / 360));
      material.uniforms.smallest.value = 1.6 * Math.min(ratio, 2);
      ringMaterial.uniforms.smallest.value = ringMaterial.uniforms.largest.value = 22 * Math.min(ratio, 2);
      render();
    };
    const look = above => {
      const { forward: [fx, fy], ground, ahead_only } = state.sample.view, ahead = ahead_only ? 20 : 3;
      controls.target.set(fx * ahead, fy * ahead, ground + 1);
      if (above) camera.position.set(fx * (ahead - 0.1), fy * (ahead - 0.1), 75);
      else camera.position.set(-fx * 19, -fy * 19, ground + 15);
      controls.update();
      render();
    };
    listenToClicks(camera, canvas);
    controls.addEventListener('change', render);
    new ResizeObserver(resize).observe(canvas.parentElement);
    return {
      look,
      pixel: row => projection(camera, canvas)(row),
      show(sample) {
        scene.clear();
        for (const old of [points, ring, lines]) if (old) old.geometry.dispose();
        points = new THREE.Points(pointsGeometry(sample.xyz, new Uint8Array(sample.count * 3)), material);
        ring = new THREE.Points(pointsGeometry(new Float32Array(3), new Uint8Array([255, 255, 255])), ringMaterial);
        ring.renderOrder = 1;
        for (const part of [points, ring]) part.frustumCulled = false;
        lines = groundLines(sample.view.forward, sample.view.ground);
        scene.add(lines, points, ring);
        resize();
        look(false);
      },
      color(values, query) {
        points.geometry.attributes.color.array.set(values);
        points.geometry.attributes.color.needsUpdate = true;
        ring.visible = query >= 0;
        if (ring.visible) ring.geometry.attributes.position.array.set(state.sample.xyz.subarray(3 * query, 3 * query + 3));
        ring.geometry.attributes.position.needsUpdate = true;
        render();
      },
    };
  }

  // ---- controls

  // buttons stay the same elements while their keys do, so that the keyboard's focus stays, too
  function choice(box, entries, chosen, choose) {
    const keys = entries.map(([key]) => key).join();
    if (box.dataset.keys !== keys) {
      box.dataset.keys = keys;
      box.querySelectorAll('button').forEach(button => button.remove());
      box.append(...entries.map(([key, text]) => {
        const button = document.createElement('button');
        button.textContent = text;
        button.dataset.key = key;
        button.addEventListener('click', () => choose(key));
        return button;
      }));
    }
    entries.forEach(([key, , enabled], i) => {
      const button = box.querySelectorAll('button')[i];
      button.disabled = !enabled;
      button.setAttribute('aria-pressed', key === chosen);
    });
  }

  function options(select, names, chosen) {
    select.replaceChildren(...names.map((name, i) => new Option(name, i, false, i === chosen)));
    select.parentElement.hidden = names.length < 2;
  }

  function drawControls() {
    const { sample, space, coloring, overlay, query } = state;
    const own = sample.colorings.map(c => [c.title, c.title, true]);
    const entries = [['pca', 'PCA', true], ['similarity', 'similarity', query >= 0], ...own];
    choice(element('colorings'), entries, coloring, key => { state.coloring = key; recolor(); });
    const shown = [['points', 'points', true], ['pixels', 'image features', !!pixelColors], ['none', 'nothing', true]];
    const drawn = overlay === 'pixels' && !pixelColors ? 'points' : overlay;
    const withMaps = sample.spaces.some(s => s.map);
    choice(element('overlays'), shown.filter(([key]) => key !== 'pixels' || withMaps), drawn, key => {
      state.overlay = key;
      recolor();
    });
    element('overlays').hidden = !sample.cameras.length;
    options(element('space'), sample.spaces.map(s => s.title), sample.spaces.indexOf(space));
    element('hint').hidden = query >= 0;
    drawLegend();
    drawStatus();
  }

  function drawLegend() {
    const { sample, coloring, low } = state, chosen = sample.colorings.find(c => c.title === coloring);
    const similarity = coloring === 'similarity', classes = chosen && chosen.classes;
    element('scale').hidden = !similarity && (!chosen || classes);
    element('range').hidden = !similarity;
    element('classes').hidden = !classes;
    element('components').hidden = similarity || chosen;
    const ends = similarity ? [low ? low.toFixed(2) : '0 and less', 'cosine 1'] : chosen ? [chosen.low, chosen.high] : [];
    ['least', 'most'].forEach((name, i) => { element(name).textContent = ends[i]; });
    if (classes) element('classes').replaceChildren(...classEntries(chosen));
  }

  function classEntries(chosen) {
    const present = new Set(chosen.values);
    return about.classes.flatMap((name, label) => {
      if (!present.has(label)) return [];
      const entry = document.createElement('span'), patch = document.createElement('i');
      patch.style.background = `rgb(${about.palette[label]})`;
      entry.append(patch, name);
      return [entry];
    });
  }

  function drawStatus() {
    const { sample, query } = state;
    if (query < 0) {
      element('status').textContent = `${sample.count.toLocaleString('en')} points`;
      return;
    }
    const [x, y, z] = Array.from(sample.xyz.subarray(3 * query, 3 * query + 3), value => value.toFixed(1));
    const classes = sample.colorings.filter(c => c.classes).map(c => {
      return `, ${c.title}: ${about.classes[c.values[query]] || 'none'}`;
    });
    const similar = cosines.points.reduce((count, value) => count + (value > 0.8), 0);
    element('status').textContent = `Point at (${x}, ${y}, ${z}) m${classes.join('')}; ` +
      `${similar.toLocaleString('en')} of ${sample.count.toLocaleString('en')} points have a cosine above 0.8 with it`;
  }

  // ---- what a user does

  function select(row) {
    state.query = row;
    state.coloring = 'similarity';
    compare();
    recolor();
  }

  function setSpace(index) {
    state.space = state.sample.spaces[index];
    compare();
    recolor();
  }

  async function setSample(index) {
    const space = state.sample ? state.sample.spaces.indexOf(state.space) : 0;
    state.sample = await readSample(stored[index]);
    state.query = -1;
    if (state.coloring === 'similarity') state.coloring = 'pca';
    if (cloud) cloud.show(state.sample);
    showCameras();
    setSpace(Math.min(space, state.sample.spaces.length - 1));
  }

  async function start() {
    scale = await unpack(about.scale, Uint8Array);
    try {
      cloud = makeCloud(element('cloud'));
    } catch (error) {
      element('hint').textContent = `This browser shows no 3D (${error.message}): click a place in an image`;
    }
    const stops = [0, 32, 64, 96, 128, 160, 192, 224, 255].map(i => `rgb(${scale.subarray(3 * i, 3 * i + 3)})`);
    element('bar').style.background = `linear-gradient(to right, ${stops})`;
    options(element('sample'), stored.map(script => script.dataset.name), 0);
    element('sample').addEventListener('change', event => setSample(+event.target.value));
    element('space').addEventListener('change', event => setSpace(+event.target.value));
    element('low').addEventListener('input', event => { state.low = +event.target.value; recolor(); });
    element('behind').addEventListener('click', () => cloud && cloud.look(false));
    element('above').addEventListener('click', () => cloud && cloud.look(true));
    await setSample(0);
  }

  const ready = start();
  return {
    ready, state, select,
    colors: () => Array.from(colors),
    cosines: () => Array.from(cosines.points),
    pixelCosines: () => Array.from(cosines.pixels),
    pixel: row => cloud.pixel(row),
  };
})();
