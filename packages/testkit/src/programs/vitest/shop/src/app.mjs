import express from 'express';
import { price } from './price.mjs';
import { stock } from './stock.mjs';

export const app = express();
let served = 0;
app.get('/item/:name', (request, response) => {
  served++;
  response.json({ name: request.params.name, price: price(1250), left: stock(request.params.name), served });
});
