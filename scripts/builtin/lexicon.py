"""The tables of words and facts behind the built-in tasks, in English and Chinese side by side."""

from __future__ import annotations

import functools

CAPITALS = """
France|Paris|法国|巴黎
Japan|Tokyo|日本|东京
China|Beijing|中国|北京
Germany|Berlin|德国|柏林
Italy|Rome|意大利|罗马
Spain|Madrid|西班牙|马德里
Russia|Moscow|俄罗斯|莫斯科
Egypt|Cairo|埃及|开罗
Greece|Athens|希腊|雅典
Portugal|Lisbon|葡萄牙|里斯本
Austria|Vienna|奥地利|维也纳
Poland|Warsaw|波兰|华沙
Norway|Oslo|挪威|奥斯陆
Finland|Helsinki|芬兰|赫尔辛基
Ireland|Dublin|爱尔兰|都柏林
Hungary|Budapest|匈牙利|布达佩斯
Cuba|Havana|古巴|哈瓦那
Peru|Lima|秘鲁|利马
Kenya|Nairobi|肯尼亚|内罗毕
Thailand|Bangkok|泰国|曼谷
Vietnam|Hanoi|越南|河内
Canada|Ottawa|加拿大|渥太华
Britain|London|英国|伦敦
Chile|Santiago|智利|圣地亚哥
Iran|Tehran|伊朗|德黑兰
Iraq|Baghdad|伊拉克|巴格达
Nepal|Kathmandu|尼泊尔|加德满都
Denmark|Copenhagen|丹麦|哥本哈根
Sweden|Stockholm|瑞典|斯德哥尔摩
Turkey|Ankara|土耳其|安卡拉
"""

OPPOSITES = """
hot|cold|热|冷
big|small|大|小
tall|short|高|矮
fast|slow|快|慢
old|new|旧|新
happy|sad|高兴|难过
day|night|白天|黑夜
light|dark|亮|暗
open|closed|开|关
up|down|上|下
left|right|左|右
hard|soft|硬|软
wet|dry|湿|干
rich|poor|富|穷
full|empty|满|空
strong|weak|强|弱
early|late|早|晚
good|bad|好|坏
clean|dirty|干净|脏
long|short|长|短
loud|quiet|吵闹|安静
near|far|近|远
heavy|light|重|轻
true|false|真|假
inside|outside|里面|外面
start|end|开始|结束
"""

COLOURS = """
grass|green|草|绿色
the sky|blue|天空|蓝色
snow|white|雪|白色
blood|red|血|红色
a banana|yellow|香蕉|黄色
coal|black|煤|黑色
a carrot|orange|胡萝卜|橙色
milk|white|牛奶|白色
a tomato|red|西红柿|红色
a lemon|yellow|柠檬|黄色
the sea|blue|大海|蓝色
a leaf|green|树叶|绿色
chocolate|brown|巧克力|棕色
a crow|black|乌鸦|黑色
gold|yellow|金子|黄色
an eggplant|purple|茄子|紫色
a cucumber|green|黄瓜|绿色
an elephant|grey|大象|灰色
"""

WORDS = """
apple|苹果
banana|香蕉
bird|鸟
boat|船
book|书
bread|面包
cat|猫
chair|椅子
cloud|云
cow|牛
cup|杯子
dog|狗
door|门
egg|鸡蛋
fish|鱼
flower|花
hand|手
horse|马
house|房子
lamp|灯
moon|月亮
mountain|山
pen|笔
rain|雨
rice|米饭
river|河
road|路
school|学校
sheep|羊
ship|轮船
star|星星
sun|太阳
table|桌子
tea|茶
train|火车
tree|树
water|水
wind|风
window|窗户
"""

DAYS = """
Monday|星期一
Tuesday|星期二
Wednesday|星期三
Thursday|星期四
Friday|星期五
Saturday|星期六
Sunday|星期日
"""

MONTHS = """
January|一月
February|二月
March|三月
April|四月
May|五月
June|六月
July|七月
August|八月
September|九月
October|十月
November|十一月
December|十二月
"""

# For the tokenizer alone: frequent words, so that ordinary text does not fall apart into bytes.
COMMON_ENGLISH = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had
an they which one you were her all she there would their we him been has when who will more no if
out so said what up its about into than them can only other new some could time these two may then
do first any my now such like our over man me even most made after also did many before must
through back years where much your way well down should because each just those people how too
little state good very make world still own see men work long get here between both life being
under never day same another know while last might us great old year off come since against go came
right used take three small place part number found high again without house around however home
small help language question answer example model data write story name think want give use work
important different information following learn please create person game system such text list
child children water country city school family friend food money book music computer science
history health nature animal word sentence number reason problem idea point change keep begin end
show hear play run move live believe hold bring happen provide sit stand lose pay meet include
continue set later almost let girl boy eyes night head hand side young left right often until
always feel important away something nothing thing everyone best better sure best kind able public
during possible process method result system program function code value type class step order
"""

COMMON_CHINESE = """
的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里
用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力
它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制
身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔
更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科
司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观
清今切院让识候带导争运笔请回答问题谢谢您好帮助例子写一个故事语言模型数据如何为什么怎么可以需要
"""


@functools.cache
def table(text: str) -> tuple[tuple[str, ...], ...]:
    """Split a table into rows of cells."""
    return tuple(tuple(line.split("|")) for line in text.strip().splitlines())


def words() -> list[str]:
    """Return every cell of the tables, each once."""
    tables = (CAPITALS, OPPOSITES, COLOURS, WORDS, DAYS, MONTHS)
    return sorted({cell for text in tables for row in table(text) for cell in row})
