/** Returns whether a host's processor has every feature bit of an image's; both are lists of hex words as `launcher cpu` prints them. */
export function coversCpu(host: readonly string[], image: readonly string[]): boolean {
  return image.every((word, index) => {
    const wanted = BigInt(`0x${word}`);
    const present = BigInt(`0x${host[index] ?? '0'}`);
    return (wanted & present) === wanted;
  });
}

/** Returns the hex words in the output of `launcher cpu`, or undefined when it holds anything else. */
export function parseCpuWords(output: string): string[] | undefined {
  const words = output.split(/\s+/).filter(Boolean);
  return words.length > 0 && words.length <= 1024 && words.every((word) => /^[0-9a-fA-F]{1,64}$/.test(word))
    ? words
    : undefined;
}

/** Returns whether version `a` is at least version `b`, compared by their first two numbers; CRIU's image format is stable within those. */
export function isAtLeast(a: string, b: string): boolean {
  const [aMajor = 0, aMinor = 0] = numbers(a);
  const [bMajor = 0, bMinor = 0] = numbers(b);
  return aMajor > bMajor || (aMajor === bMajor && aMinor >= bMinor);
}

function numbers(version: string): number[] {
  return (version.match(/\d+/g) ?? []).slice(0, 2).map(Number);
}
