import { createServer } from 'node:http';
import { createSchema, createYoga } from 'graphql-yoga';
import { values } from './values.cjs';

const typeDefs = 'type Query { hello(name: String!): String! square(of: Int!): Int! random: [String!]! }';
const resolvers = {
  Query: { hello: (_, { name }) => `hello ${name}`, square: (_, { of }) => of ** 2, random: () => values() },
};
const yoga = createYoga({
  schema: createSchema({ typeDefs, resolvers }),
  graphqlEndpoint: '/',
  logging: false,
});
const server = createServer(yoga).listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
