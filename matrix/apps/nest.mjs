// NestJS as TypeScript compiles it: its decorators are functions, called here by hand.
import 'reflect-metadata';
import { Controller, Get, Injectable, Module, Param } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { values } from './values.cjs';

class Items {
  visits = 0;
  visit() {
    return ++this.visits;
  }
  square(id) {
    return { id, square: id ** 2 };
  }
}
Injectable()(Items);

class Pages {
  constructor(items) {
    this.items = items;
  }
  home() {
    return { hello: 'nest', visits: this.items.visit() };
  }
  item(id) {
    return this.items.square(Number(id));
  }
  random() {
    return values();
  }
}
for (const [name, path] of [
  ['home', '/'],
  ['item', '/item/:id'],
  ['random', '/random'],
]) {
  Get(path)(Pages.prototype, name, Object.getOwnPropertyDescriptor(Pages.prototype, name));
}
Param('id')(Pages.prototype, 'item', 0);
Reflect.defineMetadata('design:paramtypes', [Items], Pages);
Controller()(Pages);

class Main {}
Module({ controllers: [Pages], providers: [Items] })(Main);

const app = await NestFactory.create(Main);
await app.listen(Number(process.env.PORT ?? 0), '127.0.0.1');
console.log(`listening on http://127.0.0.1:${app.getHttpServer().address().port}`);
