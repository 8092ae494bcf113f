// What every program of the adapters' tests goes through: `PROGRAM IMAGE`. It uses its library, is checkpointed and goes on, is
// restored, and forks; each process says as `NAME JSON` which connections it has used.
import { checkpoint, fork } from 'forkpoint';

export const say = (name, value) => console.log(`${name} ${JSON.stringify(value)}`);

/**
 * `use` works with the library and returns what tells connections from each other; `leave` closes everything, so that the process
 * can end by itself.
 */
export async function rounds({ use, leave, children = 2 }) {
  say('before', await use('before'));
  const outcome = await checkpoint(process.argv[2]);
  if (outcome.outcome === 'restored') {
    say('clone', await use('clone'));
    return await leave();
  }
  say('original', await use('original'));
  const forked = await fork({ count: children });
  if (forked.role === 'child') {
    // Whoever has read it closes the channel.
    forked.channel.on('close', () => process.exit(0));
    await forked.channel.send(await use('child'));
    return await leave();
  }
  const answers = forked.children.map(
    (child) =>
      new Promise((resolve, reject) => {
        child.once('message', resolve);
        child.once('close', () => reject(new Error('a child ended without an answer')));
      }),
  );
  say('errors', forked.errors.map(String));
  say('parent', await use('parent'));
  say('children', await Promise.all(answers));
  for (const child of forked.children) child.close();
  await Promise.all(forked.children.map((child) => child.wait()));
  await leave();
}

/** Returns the error that a checkpoint is refused with. */
export async function refusal(image) {
  try {
    await checkpoint(image);
    return null;
  } catch (error) {
    return { code: error.code, message: error.message, resources: error.resources };
  }
}
