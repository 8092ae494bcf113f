import sharp from 'sharp';
import { serve } from './plain.cjs';

/** Makes a picture, turns it and reads its size back: the work is done by libvips' threads. */
const resize = async (width) => {
  const picture = await sharp({ create: { width: 640, height: 480, channels: 3, background: '#4080c0' } })
    .resize(width)
    .rotate(90)
    .png()
    .toBuffer();
  const { width: across, height: down, format } = await sharp(picture).metadata();
  return { across, down, format };
};
await resize(100);
serve({ '/resize': (query) => resize(Number(query.get('width'))) });
