// What explorer.js uses of three.js. three.min.js is made of it, in a folder outside the repository:
//   npm install three@0.187.0 esbuild@0.28.2 && cp FOLDER/three_parts.js .
//   npx esbuild three_parts.js --bundle --minify --target=es2020 --format=iife --global-name=THREE --outfile=FOLDER/three.min.js
export {
  BufferAttribute, BufferGeometry, LineBasicMaterial, LineSegments, PerspectiveCamera, Points, Scene, ShaderMaterial,
  Vector3, WebGLRenderer,
} from 'three';
export { OrbitControls } from 'three/examples/jsm/controls/OrbitControls.js';
