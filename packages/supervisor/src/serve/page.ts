import { PAGE_SCRIPT } from './page-script.ts';
import { PAGE_STYLE } from './page-style.ts';

/** The live page: everything is in it, and it asks nobody but the server that it came from. */
export const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>forkpoint serve</title>
<link rel="icon" href="data:,">
<style>${PAGE_STYLE}</style>
</head>
<body>
<a class="skip" href="#workers">Skip to the workers</a>
<header>
  <h1 id="name">forkpoint serve</h1>
  <p id="about"></p>
  <p id="connection" role="status" aria-live="polite">connecting</p>
</header>
<main>
  <section aria-label="Sums" class="figures">
    <dl>
      <div><dt>workers ready</dt><dd id="ready">-</dd></div>
      <div><dt>requests</dt><dd id="requests">-</dd></div>
      <div><dt>per second</dt><dd id="rate">-</dd></div>
      <div><dt>private memory</dt><dd id="private">-</dd></div>
      <div><dt>reforks</dt><dd id="reforks">-</dd></div>
      <div><dt>reloads</dt><dd id="reloads">-</dd></div>
    </dl>
  </section>
  <section aria-labelledby="forks-title">
    <h2 id="forks-title">Forks</h2>
    <p class="hint">Images, the workers that were started from them, and the images that were made of those. Arrow keys move, Home and End jump.</p>
    <ul id="forks" role="tree" aria-labelledby="forks-title"></ul>
  </section>
  <section aria-labelledby="workers-title">
    <h2 id="workers-title">Workers</h2>
    <div class="scroll" tabindex="0" role="region" aria-labelledby="workers-title">
      <table id="workers" tabindex="-1">
        <thead><tr>
          <th scope="col" class="number">Worker</th><th scope="col">State</th><th scope="col" class="number">Generation</th>
          <th scope="col" class="number">Pid</th><th scope="col" class="number">Requests</th><th scope="col" class="number">Active</th>
          <th scope="col">Memory: <span class="key own"></span> private <span class="key common"></span> shared</th>
          <th scope="col" class="number">CPU</th>
        </tr></thead>
        <tbody></tbody>
      </table>
    </div>
  </section>
</main>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;
