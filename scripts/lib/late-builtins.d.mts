export function loadLate(text: string): string;
export function asAscii(text: string): string;
