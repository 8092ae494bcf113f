export const dynamic = 'force-dynamic';
let visits = 0;

export default function Page() {
  return <h1>hello next, visit {++visits}</h1>;
}
