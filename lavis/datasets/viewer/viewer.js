
// Rotatable point clouds on 2D canvases, no library. Every point is drawn as a small disc that lies on the
// surface (a surfel) into one shared depth buffer, so nothing has to be sorted and near parts hide far ones.
// All viewers share one renderer and one animation loop; only those in view are drawn.
"use strict";
(() => {
  const SPEED = 0.35; // radians per second
  const FRAME_MS = 33;
  const BUDGET_MS = 12; // of drawing per frame, so that scrolling stays smooth
  const MAX_PIXELS = 480;
  const LIGHT = [-0.41, 0.64, 0.65]; // from the upper left, towards the viewer
  const stored = JSON.parse(document.getElementById("clouds").textContent);
  const decoded = new Map();
  const buffers = new Map();

  function decode(id) {
    if (!decoded.has(id)) {
      const bytes = Uint8Array.from(atob(stored[id].points), (c) => c.charCodeAt(0));
      const count = bytes.length / 12;
      const view = new DataView(bytes.buffer);
      const xyz = new Float32Array(3 * count);
      for (let k = 0; k < 3 * count; k++) xyz[k] = view.getInt16(2 * k, true) / 32767;
      const rgb = bytes.subarray(6 * count, 9 * count);
      const normal = new Int8Array(bytes.buffer, 9 * count, 3 * count);
      decoded.set(id, { count, xyz, rgb, normal, spacing: stored[id].spacing });
    }
    return decoded.get(id);
  }

  function bufferOf(size) {
    if (!buffers.has(size)) {
      const image = new ImageData(size, size);
      const pixels = new Uint32Array(image.data.buffer);
      buffers.set(size, { image, pixels, depth: new Float32Array(size * size) });
    }
    return buffers.get(size);
  }

  function rotation(yaw, pitch) {
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    return [cy, 0, sy, sp * sy, cp, -sp * cy, -cp * sy, sp, cp * cy];
  }

  // Disc around (x, y): its plane is perpendicular to (nx, ny, nz), so each pixel has its own depth.
  function splat(buffer, size, x, y, z, nx, ny, nz, radius, colour) {
    const { pixels, depth } = buffer;
    const steep = 1 / Math.max(nz, 0.2);
    const slope = -nx * steep; // depth gained per column
    const a = 1 + slope * slope;
    const bottom = Math.min(size - 1, Math.floor(y + radius));
    for (let row = Math.max(0, Math.ceil(y - radius)); row <= bottom; row++) {
      const dy = row - y;
      const lean = ny * steep * dy; // rows grow downwards, y upwards
      // Columns of the disc: dx^2 + dy^2 + (lean + slope dx)^2 <= radius^2.
      const b = slope * lean;
      const root = b * b - a * (dy * dy + lean * lean - radius * radius);
      if (root < 0) continue;
      const half = Math.sqrt(root) / a;
      const left = Math.max(0, Math.ceil(x - b / a - half));
      const right = Math.min(size - 1, Math.floor(x - b / a + half));
      let near = z + lean + slope * (left - x);
      for (let at = row * size + left; at <= row * size + right; at++, near += slope) {
        if (near > depth[at]) {
          depth[at] = near;
          pixels[at] = colour;
        }
      }
    }
  }

  function shade(rgb, k, nx, ny, nz) {
    const light = 0.42 + 0.62 * Math.max(0, nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2]);
    // The lift keeps black parts visible on a dark page.
    const level = (value) => Math.min(255, (40 + value * 0.84) * light) | 0;
    return (255 << 24) | (level(rgb[k + 2]) << 16) | (level(rgb[k + 1]) << 8) | level(rgb[k]);
  }

  function draw(viewer) {
    const size = viewer.canvas.width;
    const buffer = bufferOf(size);
    buffer.pixels.fill(0);
    buffer.depth.fill(-1e9);
    const { count, xyz, rgb, normal, spacing } = decode(viewer.id);
    const m = rotation(viewer.yaw, viewer.pitch);
    const scale = size * 0.46;
    const radius = Math.min(Math.max(spacing * scale, 1.5), size * 0.05);
    for (let k = 0; k < 3 * count; k += 3) {
      const a = xyz[k], b = xyz[k + 1], c = xyz[k + 2];
      const p = normal[k] / 127, q = normal[k + 1] / 127, r = normal[k + 2] / 127;
      const nz = m[6] * p + m[7] * q + m[8] * r;
      const side = nz < 0 ? -1 : 1; // normals have no sign: take the one that faces the viewer
      const nx = side * (m[0] * p + m[1] * q + m[2] * r);
      const ny = side * (m[3] * p + m[4] * q + m[5] * r);
      const x = size / 2 + scale * (m[0] * a + m[1] * b + m[2] * c);
      const y = size / 2 - scale * (m[3] * a + m[4] * b + m[5] * c);
      const z = scale * (m[6] * a + m[7] * b + m[8] * c);
      splat(buffer, size, x, y, z, nx, ny, side * nz, radius, shade(rgb, k, nx, ny, side * nz));
    }
    viewer.context.putImageData(buffer.image, 0, 0);
    viewer.dirty = false;
  }

  const viewers = new Map();
  const pause = document.getElementById("pause");
  let paused = false;
  let scheduled = false;
  let last = 0;

  function step(now) {
    scheduled = false;
    const elapsed = now - last;
    const due = elapsed >= FRAME_MS; // the rotation needs no more than 30 frames a second
    if (due) last = now;
    const started = performance.now();
    const drawn = [];
    for (const viewer of viewers.values()) {
      if (!viewer.seen) continue;
      if (due && viewer.turning && !paused) {
        viewer.yaw += (SPEED * Math.min(elapsed, 100)) / 1000;
        viewer.dirty = true;
      }
      // A slow machine redraws a part of the viewers per frame, the longest waiting first.
      if (!viewer.dirty || performance.now() - started > BUDGET_MS) continue;
      draw(viewer);
      drawn.push(viewer);
    }
    for (const viewer of drawn) {
      viewers.delete(viewer.canvas);
      viewers.set(viewer.canvas, viewer);
    }
    wake();
  }

  function wake() {
    const busy = [...viewers.values()].some((v) => v.seen && (v.dirty || (v.turning && !paused)));
    if (busy && !scheduled) {
      scheduled = true;
      requestAnimationFrame(step);
    }
  }

  function turn(viewer, yaw, pitch) {
    viewer.turning = false;
    viewer.yaw += yaw;
    viewer.pitch = Math.max(-1.5, Math.min(1.5, viewer.pitch + pitch));
    viewer.dirty = true;
    wake();
  }

  function listen(viewer) {
    const { canvas } = viewer;
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      held = [event.clientX, event.clientY];
      viewer.turning = false;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (held === null) return;
      turn(viewer, (event.clientX - held[0]) * 0.012, (event.clientY - held[1]) * 0.012);
      held = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = null));
    const keys = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      turn(viewer, ...keys[event.key]);
    });
  }

  function setPaused(value) {
    paused = value;
    pause.setAttribute("aria-pressed", String(value));
    pause.textContent = value ? "Resume rotation" : "Pause rotation";
    wake();
  }

  const inView = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const viewer = viewers.get(entry.target);
      viewer.seen = entry.isIntersecting;
      if (viewer.seen && viewer.dirty) draw(viewer);
    }
    wake();
  });
  const resized = new ResizeObserver((entries) => {
    for (const entry of entries) {
      const viewer = viewers.get(entry.target);
      const size = Math.max(64, Math.min(MAX_PIXELS, Math.round(2 * entry.contentRect.width)));
      if (viewer.canvas.width === size && viewer.canvas.height === size) continue;
      viewer.canvas.width = viewer.canvas.height = size;
      viewer.dirty = true; // a canvas forgets its content with its size: drawn at once, it never flickers
      if (viewer.seen) draw(viewer);
    }
    wake();
  });

  for (const canvas of document.querySelectorAll("canvas[data-cloud]")) {
    const viewer = { canvas, id: canvas.dataset.cloud, context: canvas.getContext("2d") };
    Object.assign(viewer, { yaw: -0.6, pitch: 0.5, turning: true, seen: false, dirty: true });
    viewers.set(canvas, viewer);
    listen(viewer);
    inView.observe(canvas);
    resized.observe(canvas);
  }
  pause.addEventListener("click", () => setPaused(!paused));
  setPaused(window.matchMedia("(prefers-reduced-motion: reduce)").matches);
})();
