import { createElement as h, useState } from 'react';

export function Board({ names }) {
  const [chosen, choose] = useState(null);
  if (names.length === 0) return h('p', null, 'nobody');
  return h(
    'ul',
    { 'data-id': 'board' },
    names.map((name) =>
      h('li', { key: name, onClick: () => choose(name), className: name === chosen ? 'chosen' : '' }, name),
    ),
  );
}

export function unused() {
  return 'never called';
}
