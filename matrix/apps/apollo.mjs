import { ApolloServer } from '@apollo/server';
import { startStandaloneServer } from '@apollo/server/standalone';
import { values } from './values.cjs';

const typeDefs = 'type Query { hello(name: String!): String! square(of: Int!): Int! random: [String!]! }';
const resolvers = {
  Query: { hello: (_, { name }) => `hello ${name}`, square: (_, { of }) => of ** 2, random: () => values() },
};
const server = new ApolloServer({ typeDefs, resolvers, csrfPrevention: false });
const { url } = await startStandaloneServer(server, {
  listen: { port: Number(process.env.PORT ?? 0), host: '127.0.0.1' },
});
console.log(`listening on ${url}`);
