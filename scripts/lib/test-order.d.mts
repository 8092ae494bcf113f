export function longestFirst(files: string[]): string[];
