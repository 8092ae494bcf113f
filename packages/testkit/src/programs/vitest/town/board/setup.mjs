import { configure } from '@testing-library/react';

configure({ testIdAttribute: 'data-id' });
beforeEach(() => {
  document.title = 'fresh';
});
