/** A test that failed. */
export interface Failure {
  readonly name: string;
  readonly location: string;
  readonly error: string;
}
export function failuresOf(text: string): Failure[];
