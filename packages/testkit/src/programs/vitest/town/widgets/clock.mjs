export class Clock extends HTMLElement {
  connectedCallback() {
    this.textContent = '0';
    this.timer = setInterval(() => (this.textContent = String(Number(this.textContent) + 1)), 1000);
  }

  disconnectedCallback() {
    clearInterval(this.timer);
  }
}
