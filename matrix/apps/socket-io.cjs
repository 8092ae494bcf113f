const { Server } = require('socket.io');
const { serve } = require('./plain.cjs');

const io = new Server(serve({ '/clients': () => ({ clients: io.engine.clientsCount }) }));
io.on('connection', (socket) => {
  socket.on('square', (value, answer) => answer(value ** 2));
});
