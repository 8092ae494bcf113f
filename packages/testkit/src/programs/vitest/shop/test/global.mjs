export default function setup({ provide }) {
  provide('shop', { town: 'Ghent' });
  process.env.FROM_GLOBAL_SETUP = 'yes';
  return () => undefined;
}
