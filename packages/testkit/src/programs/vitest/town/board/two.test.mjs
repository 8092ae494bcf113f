import { fireEvent, render, screen } from '@testing-library/react';
import { createElement as h } from 'react';
import { Board } from './board.mjs';

describe('another board', () => {
  it('shows names', () => {
    const { container } = render(h(Board, { names: ['Ada', 'Alan', 'Edsger'] }));
    expect(container.innerHTML).toMatchSnapshot();
    expect(document.title).toBe('fresh');
    localStorage.setItem('seen', 'yes');
  });
  it('is cleaned up after each test', () => {
    expect(document.body.innerHTML).toBe('');
    expect(globalThis.marked).toBe(undefined);
    globalThis.marked = true;
  });
  it('lets one be chosen', () => {
    render(h(Board, { names: ['Ada', 'Alan', 'Edsger'] }));
    fireEvent.click(screen.getByText('Alan'));
    expect(screen.getByText('Alan').className).toBe('chosen');
    expect(screen.getByTestId('board').children).toHaveLength(3);
  });
  it('does not find who is not there', () => {
    render(h(Board, { names: ['Ada'] }));
    screen.getByText('Grace');
  });
});
